"""Build models from a backbone's name, a task's name, classes, weights and options."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zoo.artefacts import trust as trusting
from zoo.artefacts.hub.reference import is_reference
from zoo.artefacts.hub.snapshot import complete, fetch
from zoo.backbones import BACKBONES, Backbone, BackboneDefinition, Level
from zoo.data.classes import unnamed
from zoo.data.names import nfc
from zoo.errors import InputError, UnknownNameError
from zoo.models.adapters import Adapters
from zoo.models.config import HeadConfig, ModelConfig
from zoo.models.heads import by_head, check_passes, named_tasks, per_head, sharing
from zoo.models.model import Model
from zoo.models.weights.layouts import Weights
from zoo.models.weights.licences import LicencePolicy, check_licences, find_licences, report_licences, settled_licences
from zoo.models.weights.loading import find_heads, find_weights, fit_weights
from zoo.task.contract import Task, get_task
from zoo.task.head import Head, HeadSpec

_LOG = logging.getLogger("zoo")


def settle_options(
    task: Task, definition: BackboneDefinition, weights: Weights | None, asked: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    """Resolve the options of a model: the caller's values first, then those stored with the weights, then the backbone's defaults.

    Returns:
        The task's options, and the metadata of the weights, which is empty if it isn't valid for predictions with these options.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    own = definition.options.get(task.name, {})
    if weights is None or weights.task != task.name or not _takes(task, weights.options, given):
        return task.parse_options({**own, **given}), {}
    made_with = {**own, **weights.options}
    refuse_other_options(task, f"the weights {weights.origin}", made_with, given)
    options = task.parse_options({**made_with, **given})
    same = task.building.metadata(options) == task.building.metadata(task.parse_options(made_with))
    return options, weights.metadata if same else {}


def _takes(task: Task, made_with: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return whether weights trained with the options `made_with` can be loaded into a model with the options `given`."""
    return get_task(task.name, {**made_with, **given}).takes_weights_of(get_task(task.name, made_with))


def refuse_other_options(task: Task, weights: str, made_with: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise an `InputError` if an option contradicts those that the weights were made with. `weights` describes them in the message."""
    for name in task.building.bound_options(made_with):
        if name in asked and asked[name] != made_with[name]:
            raise InputError(f"{task.name}: {name} is {asked[name]!r}, but {weights} were trained with {made_with[name]!r}; omit it")


def components(config: ModelConfig) -> tuple[Backbone, dict[str, Head], dict[str, Adapters], ModelConfig, dict[str, Any]]:
    """Return the arguments of `Model`: backbone, heads and adapters with fresh parameters, configuration, and metadata of the tasks."""
    backbone = BACKBONES[config.backbone].create()
    heads = {name: make_head(config.backbone, backbone.levels, head) for name, head in config.heads.items()}
    adapters = {name: Adapters(backbone) for name, head in config.heads.items() if head.adapters}
    metadata = {name: task_metadata(head) for name, head in config.heads.items()}
    return backbone, heads, adapters, config, {"heads": metadata} if len(heads) > 1 else metadata[next(iter(heads))]


def make_head(backbone: str, levels: Sequence[Level], config: HeadConfig) -> Head:
    """Return a head with fresh parameters for a backbone with these levels."""
    task = config.definition
    least = task.building.min_levels
    if len(levels) < least:
        raise InputError(f"the task {task.name} needs a backbone with at least {least} levels; {backbone} has {len(levels)}")
    spec = HeadSpec(tuple(levels), len(config.classes), task.parse_options(config.options), config.preprocess)
    head = task.building.head(spec)
    head.spec = spec
    return head


def task_metadata(config: HeadConfig) -> dict[str, Any]:
    """Return the metadata that the task defines for a head."""
    return config.definition.building.metadata(config.definition.parse_options(config.options))


def build(
    backbone: str,
    task: str | Sequence[str] | Mapping[str, str] = "classification",
    *,
    classes: Sequence[str] | Mapping[str, Sequence[str] | None] | None = None,
    num_classes: int | Mapping[str, int | None] | None = None,
    weights: str | Path | None = None,
    freeze: str = "none",
    adapters: bool | Mapping[str, bool] = False,
    passes: int | None = None,
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    trust: trusting.Mode | None = None,
    trusted_keys: str | Path | None = None,
    licence_policy: LicencePolicy | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Model:
    """Build a model that consists of a backbone from the registry and the head of a task, or the heads of several tasks.

    Args:
        backbone: name of the backbone, one of `zoo.list_backbones()`.
        task: name of the task, one of `zoo.list_tasks()`. For several heads, a sequence of tasks, after which the heads are named, or a
            mapping from head name to task.
        classes: class names by index from 0, without background. If neither `classes` nor `num_classes` is set, the classes of the weights
            are used. For several heads, a mapping from head name to class names.
        num_classes: number of classes, if their names are irrelevant. For several heads, a mapping from head name to number.
        weights: None for random parameters, "default", a timm tag, the name of torchvision or facenet-pytorch weights, the path of a
            file or folder, or a repository of the Hub, hf:OWNER/NAME or hf:OWNER/NAME@REVISION.
        freeze: layers to freeze: "none", "trunk", "stages=N", "norm", or two of these values joined by a comma; see `zoo.freeze`.
        adapters: whether to freeze the backbone and fit it to each head, or to some of several heads, with residual adapters (Rebuffi et
            al. 2017, arXiv 1705.08045): 1×1 convolutions after those of the backbone. A head with adapters needs a separate pass.
        passes: maximum number of passes through the backbone that an image may need; None for any number. Heads with the same
            preprocessing share a pass.
        pretrained: whether to load the default weights; equivalent to `weights="default"`, for compatibility with timm.
        checkpoint_path: path of a weights file; equivalent to `weights=path`, for compatibility with timm.
        trust: "enforce" to refuse weights in a file or folder that isn't signed with a trusted key; see `zoo.load`.
        trusted_keys: folder with the trusted public keys, in PEM files; see `zoo.load`.
        licence_policy: "permissive" to refuse weights whose licence isn't permissive, or is unknown, before they are fetched or loaded;
            "any" for any weights. None for the value of the environment variable ZOO_LICENCE_POLICY, or else "any".
        say: callback that receives messages about parameters that were not loaded, and about weights for research only. By default, the
            logger "zoo" logs them.
        **options: options of the tasks; see `zoo.info(task)`. With several heads, an option applies to all heads whose task has it, unless
            its value is a mapping from head name to value.

    Returns:
        The model, in evaluation mode.

    Raises:
        UnknownNameError: the backbone, a task, a head, an option or the name of the weights is unknown.
        InputError: an option is invalid, options contradict each other, two heads have the same name, the heads need more than `passes`
            passes, or `licence_policy` refuses the weights.
        WeightsError: the weights can't be read or don't match the model.
        SignatureError: `trust` is "enforce", and the weights aren't signed with a trusted key, or were changed.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", task="classification", classes=["cat", "dog"])
        >>> model.classes
        ('cat', 'dog')
        >>> classes = {"animal": ["cat", "dog"], "indoors": ["no", "yes"]}
        >>> model = zoo.build("resnet20", task=dict.fromkeys(classes, "classification"), classes=classes)
        >>> [*model(torch.rand(1, 3, 32, 32))]
        ['animal', 'indoors']
    """
    definition, tasks = BACKBONES[backbone], named_tasks(task)
    given = by_head({name: get_task(kind) for name, kind in tasks.items()}, options)
    for name, kind in tasks.items():
        settle_options(get_task(kind), definition, None, given[name])  # report invalid options before anything is fetched
    names, counts = per_head("classes", classes, tasks), per_head("num_classes", num_classes, tasks)
    adapted = per_head("adapters", adapters if isinstance(adapters, Mapping) else dict.fromkeys(tasks, adapters), tasks)
    sources = [value for value in (weights, checkpoint_path, "default" if pretrained else None) if value]
    if len(sources) > 1:
        raise InputError("weights, checkpoint_path and pretrained all select the weights; pass only one of them")
    with trusting.using(trusting.policy(trust, trusted_keys)):
        snapshot = fetch(sources[0], weights=False) if sources and is_reference(sources[0]) else None
        if snapshot is not None:
            sources = [str(snapshot)]  # with the commit in place of a branch, which may change at any time
        licences = find_licences(sources[0], backbone, tasks) if sources else ()
        check_licences(licences, licence_policy)
        if snapshot is not None:
            complete(snapshot)
        named = find_heads(sources[0], backbone, tasks) if sources else {}
        loaded = next(iter(named.values()), None) or (_find(sources[0], backbone, tasks) if sources else None)
    heads, metadata = {}, {}
    for name, kind in tasks.items():
        own, theirs = get_task(kind, given[name]), named.get(name, loaded)
        native = (theirs.preprocess if theirs is not None else None) or definition.preprocess()
        settled, metadata[name] = settle_options(own, definition, theirs, given[name])
        found = class_names(names[name], counts[name], theirs, own)
        heads[name] = HeadConfig(kind, found, asdict(settled), own.building.preprocess(native, settled), bool(adapted[name]))
    config = ModelConfig(
        backbone=backbone,
        heads=sharing(heads, options),
        norm_eps=loaded.norm_eps if loaded is not None else None,
        freeze="trunk" if any(adapted.values()) and freeze == "none" else freeze,
        weights=loaded.origin if loaded is not None else None,
        licences=settled_licences(licences, loaded) if loaded is not None else (),
    )
    check_passes(config, passes)
    model = Model(*components(config))
    if loaded is not None:
        fit_weights(model, loaded, say, named)
        report_licences(config.licences, say or _LOG.warning)
        if loaded.hub is not None:
            model.metadata["hub"] = dict(loaded.hub)
    for name in tasks:
        model.head_metadata(name).update(metadata[name])
    return model.eval()


def _find(source: str | Path, backbone: str, tasks: Mapping[str, str]) -> Weights:
    """Return the weights for the first of the tasks that has weights of this name. If none does, raise the error for the first task."""
    errors = []
    for kind in dict.fromkeys(tasks.values()):
        try:
            return find_weights(source, backbone, kind)
        except UnknownNameError as error:
            errors.append(error)
    raise errors[0]


def class_names(classes: Sequence[str] | None, num_classes: int | None, weights: Weights | None, task: Task) -> tuple[str, ...]:
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
