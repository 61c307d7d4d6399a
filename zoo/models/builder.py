"""Build models from a backbone's name, a task's name, classes, weights and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zoo.backbones import BACKBONES, Backbone, BackboneDefinition
from zoo.data.classes import unnamed
from zoo.data.names import nfc
from zoo.errors import InputError
from zoo.models.config import ModelConfig
from zoo.models.model import Model
from zoo.models.weights.layouts import Weights
from zoo.models.weights.loading import find_weights, fit_weights
from zoo.task.contract import Task, get_task
from zoo.task.head import Head, HeadSpec


def _settle(task: Task, definition: BackboneDefinition, weights: Weights | None, asked: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Resolve the options of a model: the caller's values first, then those stored with the weights, then the backbone's defaults.

    Returns:
        The task's options, and the metadata of the weights, which is empty if it isn't valid for predictions with these options.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    own = definition.options.get(task.name, {})
    if weights is None or weights.task != task.name or task.variant({**weights.options, **given}) is not task.variant(weights.options):
        return task.parse_options({**own, **given}), {}
    made_with = {**own, **weights.options}
    refuse_other_options(task, f"the weights {weights.origin}", made_with, given)
    options = task.parse_options({**made_with, **given})
    same = task.building.metadata(options) == task.building.metadata(task.parse_options(made_with))
    return options, weights.metadata if same else {}


def refuse_other_options(task: Task, weights: str, made_with: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise an `InputError` if an option contradicts those that the weights were made with. `weights` describes them in the message."""
    for name in task.building.bound_options(made_with):
        if name in asked and asked[name] != made_with[name]:
            raise InputError(f"{task.name}: {name} is {asked[name]!r}, but {weights} were trained with {made_with[name]!r}; omit it")


def components(config: ModelConfig) -> tuple[Backbone, Head, ModelConfig, dict[str, Any]]:
    """Return the arguments of `Model`: backbone and head with fresh parameters, the configuration, and the task's metadata."""
    task, backbone = get_task(config.task, config.options), BACKBONES[config.backbone].create()
    least, levels = task.building.min_levels, backbone.levels
    if len(levels) < least:
        raise InputError(f"the task {task.name} needs a backbone with at least {least} levels; {config.backbone} has {len(levels)}")
    options = task.parse_options(config.options)
    head = task.building.head(HeadSpec(levels, len(config.classes), options, config.preprocess))
    return backbone, head, config, task.building.metadata(options)


def build(
    backbone: str,
    task: str = "classification",
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    weights: str | Path | None = None,
    freeze: str = "none",
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Model:
    """Build a model that consists of a backbone from the registry and the head of a task.

    Args:
        backbone: name of the backbone, one of `zoo.list_backbones()`.
        task: name of the task, one of `zoo.list_tasks()`.
        classes: class names by index from 0, without background. If neither `classes` nor `num_classes` is set, the classes of the weights
            are used.
        num_classes: number of classes, if their names are irrelevant.
        weights: None for random parameters, "default", a timm tag, the name of torchvision or facenet-pytorch weights, or the path of a
            file or folder.
        freeze: layers to freeze: "none", "trunk", "stages=N", "norm", or two of these values joined by a comma; see `zoo.freeze`.
        pretrained: whether to load the default weights; equivalent to `weights="default"`, for compatibility with timm.
        checkpoint_path: path of a weights file; equivalent to `weights=path`, for compatibility with timm.
        say: callback that receives messages about parameters that were not loaded. By default, the logger "zoo" logs them.
        **options: options of the task; see `zoo.info(task)`.

    Returns:
        The model, in evaluation mode.

    Raises:
        UnknownNameError: the backbone, the task, an option or the name of the weights is unknown.
        InputError: an option is invalid, or options contradict each other.
        WeightsError: the weights can't be read or don't match the model.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", task="classification", classes=["cat", "dog"])
        >>> model.classes
        ('cat', 'dog')
    """
    definition, definition_task = BACKBONES[backbone], get_task(task)
    _settle(definition_task, definition, None, options)  # report invalid options before anything is fetched
    sources = [value for value in (weights, checkpoint_path, "default" if pretrained else None) if value]
    if len(sources) > 1:
        raise InputError("weights, checkpoint_path and pretrained all select the weights; pass only one of them")
    loaded = find_weights(sources[0], backbone, task) if sources else None
    settled, metadata = _settle(definition_task, definition, loaded, options)
    native = (loaded.preprocess if loaded is not None else None) or definition.preprocess()
    config = ModelConfig(
        backbone=backbone,
        task=task,
        classes=_class_names(classes, num_classes, loaded, definition_task),
        options=asdict(settled),
        preprocess=definition_task.building.preprocess(native, settled),
        norm_eps=loaded.norm_eps if loaded is not None else None,
        freeze=freeze,
        weights=loaded.origin if loaded is not None else None,
    )
    model = Model(*components(config))
    if loaded is not None:
        fit_weights(model, loaded, say)
    model.metadata.update(metadata)
    return model.eval()


def _class_names(classes: Sequence[str] | None, num_classes: int | None, weights: Weights | None, task: Task) -> tuple[str, ...]:
    """Return `classes`, or else those of the weights if `num_classes` agrees, or else `num_classes` indices, or else the task's default."""
    if classes is not None:
        names = tuple(nfc(str(name)) for name in classes)
        if isinstance(classes, str) or len(set(names)) < len(names) or not names:
            raise InputError(f"classes is {classes!r}; expected a list of unique names")
        if num_classes not in (None, len(names)):
            raise InputError(f"num_classes is {num_classes} but classes has {len(names)} names")
        return names
    if weights is not None and weights.task == task.name and num_classes in (None, weights.num_classes):
        return tuple(map(nfc, weights.classes)) or unnamed(weights.num_classes)
    if num_classes is not None:
        if num_classes < 0 or (num_classes == 0 and task.building.default_classes()):
            raise InputError(f"num_classes is {num_classes}; expected 1 or more")
        return unnamed(num_classes)
    return task.building.default_classes()
