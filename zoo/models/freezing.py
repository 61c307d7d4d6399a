"""What of a trunk is kept as it is while the rest learns: all of it, its first stages, or its batch-norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.backbones.freezing import apply_freeze, frozen_stages
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.models.model import Model


def freeze(model: Model, what: str) -> Model:
    """Stop the training of a part of a model's trunk, and let the rest of it learn.

    Frozen parts have no gradients, and their batch-norm normalises with the statistics it has.

    Args:
        model: it is changed in place.
        what: "none", "trunk", "stages=N" for the stem and the first N stages, "norm" for the batch-norm of the whole trunk, or two
            of them joined by a comma: "stages=2,norm".

    Returns:
        The model.

    Raises:
        InputError: none of the above, more stages than there are, or a compiled model.

    Example:
        >>> import zoo
        >>> model = zoo.freeze(zoo.build("resnet20", num_classes=2), "stages=1")
        >>> model.config.freeze
        'stages=1'
    """
    if model.compiled:
        raise InputError("a compiled model learns nothing, and has nothing to freeze: freeze the model it was made from")
    model.set_frozen(apply_freeze(model.backbone, what))
    model.config = replace(model.config, freeze=what)
    return model


def unfreeze(model: Model, stages: int | None = None) -> Model:
    """Let a frozen trunk learn again: all of it, or its deepest frozen stages, for gradual schedules.

    Args:
        model: it is changed in place.
        stages: how many stages more may learn, the deepest first; None for everything, frozen batch-norm too.

    Returns:
        The model.

    Raises:
        InputError: `stages` is below 1.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", num_classes=2, freeze="trunk")
        >>> zoo.unfreeze(model, stages=1).config.freeze
        'stages=2'
    """
    if stages is not None and stages < 1:
        raise InputError(f"unfreeze: stages is {stages}; expected 1 or more, or None for everything")
    if stages is None:
        return freeze(model, "none")
    count, norm = frozen_stages(model.backbone, model.config.freeze)
    return freeze(model, _words(max(0, count - stages), norm))


def _words(count: int, norm: bool) -> str:
    words: Sequence[str] = [*([f"stages={count - 1}"] if count else []), *(["norm"] if norm else [])]
    return ",".join(words) or "none"
