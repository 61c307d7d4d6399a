"""`zoo train` for models with several heads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from zoo.artefacts.encryption import refuse_as_weights
from zoo.cli.context import class_list, is_saved, progress_of, value_of, values_of
from zoo.cli.flags import RunFlags, combine
from zoo.cli.heads import head_settings, named_values
from zoo.cli.parsing import parsed_lists
from zoo.errors import InputError, UnknownNameError
from zoo.task.flags import TaskFlags, flags_of
from zoo.task.joint import find_joint_recipe, joint_settings
from zoo.task.recipe import Recipe, RunRecipe

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.system.progress import Progress
    from zoo.training.train import Run

Several = tyro.conf.UseAppendAction[tuple[str, ...]]
_RUN = {setting.name for setting in fields(RunRecipe)}


@dataclass(frozen=True)
class TrainFlags:
    """Train a model with several heads. The run folder will contain recipe.toml, metrics.jsonl, checkpoints and the final model."""

    data: Several = ()
    """Training data of a head: NAME=DATA, such as parts=coco:…, or of several heads: NAME,NAME=DATA. Pass the flag for each dataset."""
    out: Path | None = None
    """Folder of the run; by default runs/NAMES-BACKBONE."""
    val: Several = ()
    """Validation data of a head, scored after every epoch: NAME=DATA, as for --data; by default there is no validation."""
    align: str | None = None
    """Heads of the face task only: detect the main face of each image with this detector (mtcnn, or the folder of a detection model) and
    align it. By default, images are not aligned."""
    recipe: str = "standard"
    """Training settings: quick, standard, thorough, or a TOML file, such as a run's recipe.toml. Flags for individual settings take
    precedence."""
    set: Several = ()
    """Build option or training setting of a head: HEAD.NAME=VALUE, such as parts.flip=0, or NAME=VALUE for all heads whose task has it.
    zoo train --task TASK --help lists them."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint. Automatic after a restart by torchrun."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints within an epoch; 0 saves one after every step. A checkpoint is also saved at the end of every epoch."""
    track: str | None = None
    """Comma-separated experiment trackers, as in zoo train for one head. By default, no tracker is used."""
    beside_alone: bool = False
    """Also train each head alone, from the same weights on the same batches of its samples, and compare the scores in the report."""


@dataclass(frozen=True)
class JointBuildFlags:
    """Which model to build, or to train further."""

    task: Several = ()
    """Name and task of a head: NAME=TASK. Pass the flag once for each head; zoo list prints all tasks."""
    backbone: str | None = None
    """Name of a backbone; zoo list prints all names. Without it, --weights is a saved model, whose heads are kept; --task adds others."""
    weights: str | None = None
    """Pretrained weights: "default", a name from zoo info BACKBONE, hf:OWNER/NAME, or a path. By default, the weights are random."""
    classes: Several = ()
    """Class names of a head: NAME=CLASS,CLASS; by default taken from its training data."""
    adapters: str | None = None
    """Comma-separated names of new heads that get residual adapters, which fit the frozen backbone to them."""
    passes: int | None = None
    """Maximum number of passes through the backbone that an image may need; by default any number."""
    licence_policy: Literal["any", "permissive"] | None = None
    """Licences of weights and saved models that may be loaded: permissive refuses those for research only, with other restrictions or
    with an unknown licence. By default the value of the environment variable ZOO_LICENCE_POLICY, or any."""


@dataclass(frozen=True)
class NoFlags:
    """Empty set of flags."""


def heads_of(words: Sequence[str]) -> dict[str, str]:
    """Return the task of each head by name for arguments that describe a model with named heads; empty for other arguments.

    Raises:
        InputError: two heads have the same name, or a value of --task has no name although others have one.
    """
    tasks: dict[str, str] = {}
    for value in values_of("--task", words):
        name, equals, task = value.partition("=")
        if equals and name in tasks:
            raise InputError(f"two heads have the name {name!r}; give them different names with --task NAME=TASK")
        tasks |= {name: task} if equals else {}
    kept = _saved_heads(words)
    for name in tasks:
        if name in kept:
            raise InputError(f"--task {name}={tasks[name]}: the model {value_of('--weights', [*words])} already has this head; omit it")
    heads = {**kept, **tasks} if tasks or len(kept) > 1 else {}
    nameless = next((value for value in values_of("--task", words) if "=" not in value), None)
    if heads and nameless is not None:
        raise InputError(f"--task is {nameless!r}; expected NAME=TASK, as for the other heads ({', '.join(heads)})")
    return heads


def _saved_heads(words: Sequence[str]) -> dict[str, str]:
    """Return the tasks of the heads of the saved model from which training starts; empty if a backbone is given."""
    weights = value_of("--weights", [*words])
    if value_of("--backbone", [*words]) is not None or weights is None:
        return {}
    refuse_as_weights(weights)
    if not is_saved(weights):
        return {}
    from zoo.models.config import saved_config

    config = saved_config(weights)
    return {} if config is None else {name: head.task for name, head in config.heads.items()}


def flags_of_heads(tasks: Mapping[str, str], words: Sequence[str]) -> type[Any]:
    """Return the flags of the command for the heads `tasks`."""
    flags = {name: flags_of(task) for name, task in tasks.items()}
    recipe = find_joint_recipe({name: (own.recipe, own.recipes) for name, own in flags.items()}, value_of("--recipe", [*words]))
    _check_flags(flags, words, {option.name for kind in (TrainFlags, JointBuildFlags, RunFlags, type(recipe)) for option in fields(kind)})
    combined = combine(TrainFlags, TaskFlags("", NoFlags, NoFlags, Recipe, {}), recipe, build=JointBuildFlags)
    combined.tasks = dict(tasks)
    return combined


def _check_flags(known: Mapping[str, TaskFlags], words: Sequence[str], own: Collection[str]) -> None:
    """Raise an `InputError` for flags of single heads, other than the command's `own` flags, because --set replaces them."""
    for word in words:
        flag = word.partition("=")[0]
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        having = [
            head for head, of in known.items() if name in {option.name for kind in (of.options, of.recipe) for option in fields(kind)}
        ]
        if flag.startswith("--") and having and name not in own:
            raise InputError(
                f"{flag} is not a flag of models with several heads; pass --set {name}=VALUE for all heads whose task has it, "
                f"or --set {having[0]}.{name}=VALUE for one head"
            )


def train_heads(flags: Any) -> Run:
    """Build or load the model, train it, and return the run."""
    import torch

    from zoo.training.train import train

    tasks: dict[str, str] = flags.tasks
    options, settings = _sorted(flags.main.set, tasks)
    recipe = joint_settings(flags.recipe, {"heads": settings}, "--set")
    data = named_values("--data", flags.main.data, [*tasks])
    if not data:
        raise InputError(f"no training data; pass --data NAME=DATA for the heads {', '.join(tasks)}")
    with progress_of(flags.run.quiet) as progress:
        torch.manual_seed(recipe.seed)  # for the random initialisation of new parameters
        model, opened = _model(flags, tasks, options, data, progress)
        out = flags.main.out or Path("runs") / f"{'-'.join(tasks)}-{model.backbone_name}"
        val = named_values("--val", flags.main.val, [*tasks], "DATA") or None
        return train(
            model, opened, val, recipe if model.is_joint else recipe.heads[next(iter(tasks))], out,
            resume=flags.main.resume, checkpoint_minutes=flags.main.checkpoint_minutes, track=class_list(flags.main.track) or (),
            progress=progress, align=flags.main.align, beside_alone=flags.main.beside_alone, **flags.run.reading,
        )  # fmt: skip


def _sorted(values: Sequence[str], tasks: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the build options and the training settings among the values of --set, both by head name."""
    known = {name: flags_of(task) for name, task in tasks.items()}
    options: dict[str, dict[str, Any]] = {name: {} for name in tasks}
    settings: dict[str, dict[str, Any]] = {name: {} for name in tasks}
    for head, name, value in _settings(values, tasks):
        if head is not None and head not in tasks:
            raise UnknownNameError("head in --set:", head, tasks)
        done, names = False, set[str]()
        for each in tasks if head is None else [head]:
            building = {option.name for option in fields(known[each].options)}
            training = {setting.name for setting in fields(known[each].recipe)} - _RUN
            names |= building | training
            if name in building | training:
                (options if name in building else settings)[each][name] = value
                done = True
        if not done:
            flag = " It is a flag of the whole run: --" + name.replace("_", "-") + "." if name in _RUN else ""
            raise UnknownNameError("option or setting in --set:", name, names, flag.strip())
    return options, settings


def _settings(values: Sequence[str], tasks: Mapping[str, str]) -> Iterator[tuple[str | None, str, Any]]:
    """Yield the settings of `head_settings`. Texts for lists by name, such as attributes, are parsed as their flags are."""
    kinds = [get_type_hints(flags_of(task).options) for task in tasks.values()]
    lists = {name for kind in kinds for name, of in kind.items() if any(get_origin(each) is Mapping for each in get_args(of))}
    for head, name, value in head_settings(values):
        try:
            yield head, name, parsed_lists(value) if name in lists and isinstance(value, str) else value
        except ValueError as error:
            raise InputError(f"--set {name}: {error}") from None


def _model(
    flags: Any, tasks: Mapping[str, str], options: Mapping[str, Mapping[str, Any]], data: Mapping[str, str], progress: Progress
) -> tuple[Model, dict[str, Any]]:
    """Return the model, and the training data. The data of new heads is opened, because their classes may be taken from it."""
    from zoo.models.archive import load
    from zoo.models.builder import build
    from zoo.models.joint import add_task
    from zoo.task.contract import get_task

    asked = flags.build
    saved = load(asked.weights, licence_policy=asked.licence_policy) if asked.backbone is None and asked.weights is not None else None
    if saved is None and asked.backbone is None:
        raise InputError("no backbone given; pass --backbone, such as --backbone resnet18 (zoo list prints all names), or a saved model")
    new = [name for name in tasks if saved is None or name not in saved.config.heads]
    adapted = class_list(asked.adapters) or []
    for name in adapted:
        if name not in new:
            raise UnknownNameError("new head in --adapters:", name, new)
    classes: dict[str, Sequence[str] | None] = {
        name: class_list(text) for name, text in named_values("--classes", asked.classes, [*tasks], "CLASSES").items()
    }
    opened: dict[str, Any] = dict(data)
    for key, source in data.items():
        found = {}
        for name in (name for name in key.split(",") if name in new):
            found[name] = get_task(tasks[name], options[name]).open(source, flags.run.on_error, progress.say)
            classes[name] = classes.get(name) or found[name].classes or None
        if found:
            opened[key] = {name: found.get(name, source) for name in key.split(",")}
    if saved is None:
        return build(
            asked.backbone, tasks, classes=classes, weights=asked.weights, passes=asked.passes, say=progress.say,
            adapters={name: name in adapted for name in tasks}, licence_policy=asked.licence_policy,
            **_by_option(_settings(flags.main.set, tasks), options),
        ), opened  # fmt: skip
    changed = [f"{name}.{option}" for name in saved.config.heads for option in options[name]]
    if changed:
        raise InputError(f"--set {changed[0]}: the options of a saved model's heads are fixed; omit it")
    for name in new:
        add_task(saved, name, tasks[name], classes=classes.get(name), adapters=name in adapted, passes=asked.passes, **options[name])
    return saved, opened


def _by_option(settings: Iterable[tuple[str | None, str, Any]], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return build options as `zoo.build` takes them: a value for all heads, or a mapping from head name to value."""
    found: dict[str, Any] = {}
    for head, name, value in settings:
        if not any(name in own for own in options.values()):
            continue
        if head is None:
            found[name] = value
        else:
            before = found.get(name, {})
            if not isinstance(before, Mapping):
                before = {each: before for each in options if name in options[each]}
            found[name] = {**before, head: value}
    return found
