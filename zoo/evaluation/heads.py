"""Evaluation of models with several heads: each head that has data is scored as a model with one head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from zoo.errors import InputError, UnknownNameError
from zoo.models.heads import head_data
from zoo.models.model import Model
from zoo.system.hardware import pick_device, place
from zoo.task.answers import Answers
from zoo.task.contract import Task

P = ParamSpec("P")
M = TypeVar("M", contravariant=True)
R = TypeVar("R")


class PerHead(Protocol[M, P, R]):
    """A function that scores a model on data. For a mapping from head name to data, it returns a dict from head name to result."""

    @overload
    def __call__(self, model: M, data: Mapping[Any, object], *args: P.args, **options: P.kwargs) -> dict[str, R]: ...
    @overload
    def __call__(self, model: M, data: object, *args: P.args, **options: P.kwargs) -> R: ...


def per_head(score: Callable[Concatenate[M, object, P], R], check: Callable[..., None] | None = None) -> PerHead[M, P, R]:
    """Extend a function that scores a model with one head, or an ensemble of them, to models with several heads.

    If its second argument is a mapping from head name to data, the function is called once for each of these heads. Options that only some
    tasks have apply to the heads of these tasks. `val` and `pooled` are mappings, like the data. `save_predictions` is a folder, which
    receives one file per head.

    Args:
        score: the function.
        check: raises an error if a task doesn't support the options. It is called with the task and the function's further arguments, for
            every head before the first one is scored.
    """

    @wraps(score)
    def scored(model: Any, data: Any, *args: Any, **options: Any) -> Any:
        models: tuple[Model, ...] = (model,) if isinstance(model, Model) else tuple(model)
        if not models or not (isinstance(data, Mapping) or any(each.is_joint for each in models)):
            return score(cast(Any, model), data, *args, **options)
        heads = _common_heads(models)
        chosen = head_data(heads, data)
        tasks = {name: heads[name] for name in chosen}
        own = _options(heads, tasks, options)
        if check is not None:
            for name, task in tasks.items():
                check(task, *args, **own[name])
        opening = (options.get("on_error", "raise"), getattr(options.get("progress"), "say", None))
        opened = {name: tasks[name].open(chosen[name], *opening) for name in tasks}  # reports errors before anything is scored
        device = pick_device(options.get("device", "auto"), any(each.compiled for each in models))
        for each in models:
            place(each, device)  # a view shares the parameters, and would leave the buffers of the model behind
        found = {}
        for name in tasks:
            views = [each.view(name) for each in models]
            found[name] = score(cast(Any, views[0] if isinstance(model, Model) else views), opened[name], *args, **own[name])
        return found

    return cast(PerHead[M, P, R], scored)


def _common_heads(models: Sequence[Model]) -> dict[str, Task]:
    """Return the task of each head by head name; raise an `InputError` unless all models have heads of the same names."""
    first, *others = ({name: head.definition for name, head in model.config.heads.items()} for model in models)
    for number, other in enumerate(others, start=2):
        if other.keys() != first.keys():
            raise InputError(
                f"ensemble: model {number} has the heads {', '.join(other)} where the first has {', '.join(first)}. The models of an "
                "ensemble must have the same heads; take one head out with zoo.split(model, NAME)"
            )
    return first


def _options(heads: Mapping[str, Task], tasks: Mapping[str, Task], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options for each of `tasks`, the scored heads among `heads`, by head name."""
    own = {name: dict(options) for name in tasks}
    for option in ("val", "pooled"):
        if options.get(option) is not None:
            values = head_data(heads, options[option], option)
            for name in tasks:
                own[name][option] = values.get(name)
    for name, values in _metric_options(tasks, options.get("metric_options") or {}).items():
        own[name]["metric_options"] = values
    if options.get("align") is not None:
        aligning = [name for name, task in tasks.items() if type(task.answers).align is not Answers.align]
        if not aligning:
            raise InputError(f"align: the heads {', '.join(tasks)} process whole images and don't support align; omit it")
        for name in tasks:
            own[name]["align"] = options["align"] if name in aligning else None
    if options.get("save_predictions") is not None:
        for name, file in _files(tasks, Path(options["save_predictions"])).items():
            own[name]["save_predictions"] = file
    return own


def _metric_options(tasks: Mapping[str, Task], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the scoring options of each head by head name; empty without any. An option applies to all heads whose task has it."""
    if not options:
        return {}
    known = {name: {option.name for option in fields(task.scoring.options)} for name, task in tasks.items()}
    for option in options:
        if not any(option in names for names in known.values()):
            raise UnknownNameError(f"scoring option of the heads {', '.join(tasks)}:", option, set().union(*known.values()))
    return {name: {option: value for option, value in options.items() if option in known[name]} for name in tasks}


def _files(tasks: Mapping[str, Task], folder: Path) -> dict[str, Path]:
    """Return the file for the predictions of each head in a folder, which is created: the head's name, and the task's first suffix."""
    suffixes = {name: task.answer_files().suffixes for name, task in tasks.items()}
    if folder.is_file() or folder.suffix.lower() in set().union(*suffixes.values()):
        raise InputError(
            f"{folder} is a file; the predictions of a model with several heads are saved to a folder with one file per head; pass a folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return {name: folder / f"{name}{found[0]}" for name, found in suffixes.items()}
