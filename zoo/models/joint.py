"""Add heads to a model, remove them, and split one off as a separate model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from zoo.backbones import BACKBONES
from zoo.errors import InputError, UnknownNameError
from zoo.models.adapters import Adapters
from zoo.models.builder import class_names, make_head, settle_options, task_metadata
from zoo.models.config import HeadConfig
from zoo.models.heads import check_name, check_passes, sharing
from zoo.models.model import Model
from zoo.task.contract import get_task


def add_task(
    model: Model,
    name: str,
    task: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    adapters: bool = False,
    passes: int | None = None,
    **options: Any,
) -> Model:
    """Add a head with random parameters to a model. The predictions of its other heads stay the same.

    The new head shares the backbone's features with a head that has the same preprocessing. A classifier without an image size uses the
    preprocessing of a detector. `model.passes()` lists the passes through the backbone that an image needs.

    Args:
        model: the model, changed in place.
        name: name of the new head.
        task: name of its task; by default, the name of the head.
        classes: class names by index.
        num_classes: number of classes, if their names are irrelevant.
        adapters: whether to freeze the backbone and fit it to the head with residual adapters, as in `zoo.build`.
        passes: maximum number of passes through the backbone that an image may need; None for any number.
        **options: options of the task.

    Returns:
        The model.

    Raises:
        InputError: the model already has a head of this name, the name can't be used, the model is compiled, an option is invalid, or the
            heads need more than `passes` passes.
        UnknownNameError: the task or an option is unknown.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", classes=["cat", "dog"])
        >>> zoo.add_task(model, "indoors", "classification", classes=["no", "yes"]).classes
        {'classification': ('cat', 'dog'), 'indoors': ('no', 'yes')}
    """
    _refuse_compiled(model)
    check_name(name)
    if name in model.config.heads:
        raise InputError(f"the model already has a head {name!r}; choose another name, or remove the head with zoo.remove_task")
    definition, kind = BACKBONES[model.backbone_name], get_task(task or name, options)
    settled, _ = settle_options(kind, definition, None, options)
    first = next(iter(model.config.heads.values())).preprocess
    native = replace(definition.preprocess(), mean=first.mean, std=first.std)
    added = HeadConfig(
        kind.name, class_names(classes, num_classes, None, kind), asdict(settled), kind.building.preprocess(native, settled), adapters
    )
    heads = {**model.config.heads, name: added}
    shared = sharing(heads, {option: {name: value} for option, value in options.items() if value is not None})
    heads[name] = shared[name]  # the other heads keep their preprocessing, on which their predictions depend
    config = replace(model.config, heads=heads)
    check_passes(config, passes)
    head = make_head(model.backbone_name, model.backbone.levels, heads[name]).to(model.device).train(model.training)
    if not model.is_joint:
        (only,) = model.config.heads
        model.metadata = {"heads": {only: model.metadata}}
    if adapters:
        model.freeze("trunk")
        model.adapters[name] = Adapters(model.backbone).to(model.device)
    model.heads[name], model.config = head, replace(config, freeze=model.config.freeze)
    model.metadata["heads"][name] = task_metadata(heads[name])
    return model


def remove_task(model: Model, name: str) -> Model:
    """Remove a head from a model with several heads.

    Args:
        model: the model, changed in place.
        name: name of the head.

    Returns:
        The model. If one head is left, it is called like any model with one head.

    Raises:
        UnknownNameError: the model has no head of this name.
        InputError: it is the only head, or the model is compiled.
    """
    _refuse_compiled(model)
    _check(model, name)
    if not model.is_joint:
        raise InputError(f"{name!r} is the only head of the model; a model needs at least one")
    heads = {other: head for other, head in model.config.heads.items() if other != name}
    del model.heads[name], model.metadata["heads"][name]
    if name in model.adapters:
        del model.adapters[name]
    model.config = replace(model.config, heads=heads)
    if not model.is_joint:
        metadata = model.metadata.pop("heads")
        model.metadata = {**model.metadata, **metadata[next(iter(heads))]}
    return model


def split(model: Model, name: str) -> Model:
    """Return one head of a model, with a copy of the backbone, as a separate model with the same predictions.

    Args:
        model: the model, which isn't changed.
        name: name of the head.

    Returns:
        The model with one head, named after its task.

    Raises:
        UnknownNameError: the model has no head of this name.
        InputError: the model is compiled.

    Example:
        >>> import zoo
        >>> classes = {"animal": ["cat", "dog"], "indoors": ["no", "yes"]}
        >>> model = zoo.build("resnet20", task=dict.fromkeys(classes, "classification"), classes=classes)
        >>> zoo.split(model, "indoors").classes
        ('no', 'yes')
    """
    _refuse_compiled(model)
    _check(model, name)
    return copy.deepcopy(model.view(name))


def _check(model: Model, name: str) -> None:
    if name not in model.config.heads:
        raise UnknownNameError("head of the model:", name, model.config.heads)


def _refuse_compiled(model: Model) -> None:
    if model.compiled:
        raise InputError("the heads of a compiled model can't be changed; change the model it was compiled from, and compile it again")
