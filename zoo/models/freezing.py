"""Freeze and unfreeze the layers of a model's backbone."""

from __future__ import annotations

from zoo.backbones import frozen_stages
from zoo.errors import InputError
from zoo.models.model import Model


def freeze(model: Model, what: str) -> Model:
    """Freeze the selected layers of a model's backbone, and unfreeze all others.

    The parameters of frozen layers get no gradients. Frozen batch-norms use their running statistics without updating them.

    Args:
        model: model to freeze, changed in place.
        what: layers to freeze: "none", "trunk" (the whole backbone), "stages=N" (the stem and the first N stages), "norm" (all batch-norms
            of the backbone), or two of these values joined by a comma, such as "stages=2,norm".

    Returns:
        The model.

    Raises:
        InputError: `what` is invalid, N exceeds the number of stages, or the model is compiled.

    Example:
        >>> import zoo
        >>> model = zoo.freeze(zoo.build("resnet20", num_classes=2), "stages=1")
        >>> model.config.freeze
        'stages=1'
    """
    if model.compiled:
        raise InputError("a compiled model can't be trained and has nothing to freeze: freeze the model it was compiled from")
    model.freeze(what)
    return model


def unfreeze(model: Model, stages: int | None = None) -> Model:
    """Unfreeze a model's backbone completely, or only its deepest frozen stages for gradual unfreezing.

    Args:
        model: model to unfreeze, changed in place.
        stages: number of stages to unfreeze, the deepest first; None for the whole backbone, including frozen batch-norms.

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
        raise InputError(f"unfreeze: stages is {stages}; expected 1 or more, or None for the whole backbone")
    if stages is None:
        return freeze(model, "none")
    count, norm = frozen_stages(model.backbone, model.config.freeze)
    words = [f"stages={count - stages - 1}"] if count > stages else []
    return freeze(model, ",".join(words + ["norm"] * norm) or "none")
