"""What of a trunk is kept as it is while the rest learns: all of it, its first stages, or its batch-norm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.backbones import Backbone
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.model import Model

_STAGES = re.compile(r"stages=(\d+)")


def frozen_stages(backbone: Backbone, what: str) -> tuple[int, bool]:
    """Read what is to be frozen.

    Args:
        backbone: the trunk.
        what: "none", "trunk", "stages=N" (the stem and the first N stages), "norm" (the batch-norm of all of it), or two of them
            joined by a comma: "stages=2,norm".

    Returns:
        How many parts are frozen, the stem being the first, and whether batch-norm is frozen everywhere.

    Raises:
        InputError: none of the above, or more stages than there are.
    """
    count, norm, last = 0, False, len(backbone.stages()) - 1
    for word in what.split(","):
        stages = _STAGES.fullmatch(word)
        if word not in ("none", "trunk", "norm") and (stages is None or int(stages[1]) > last):
            raise InputError(
                f"freeze is {what!r}; expected 'none', 'trunk', 'stages=N' with N up to {last}, 'norm', or two of them: 'stages=1,norm'"
            )
        norm = norm or word == "norm"
        count = max(count, {"trunk": last + 1}.get(word, int(stages[1]) + 1 if stages is not None else 0))
    return count, norm


def apply_freeze(backbone: Backbone, what: str) -> tuple[nn.Module, ...]:
    """Let what is frozen learn no more, and everything else of the trunk learn.

    Args:
        backbone: the trunk.
        what: see `frozen_stages`.

    Returns:
        The frozen modules, which are to stay in evaluation mode.

    Raises:
        InputError: not a thing that can be frozen.
    """
    count, norm = frozen_stages(backbone, what)
    stages = backbone.stages()
    backbone.requires_grad_(True)
    # a whole trunk may have parameters outside its stages
    frozen: list[nn.Module] = [backbone] if count == len(stages) else [module for stage in stages[:count] for module in stage]
    if norm:
        frozen += [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    for module in frozen:
        module.requires_grad_(False)
    return tuple(frozen)


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
