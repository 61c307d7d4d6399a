"""Names of a model's heads, and the assignment of options, classes and preprocessing to them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from zoo.errors import InputError, UnknownNameError
from zoo.models.config import HeadConfig, ModelConfig
from zoo.models.passes import differences
from zoo.task.contract import Task, get_task

_NAME = re.compile(r"\w[\w-]*")
_ENTRIES = ("key", "drawn", "hub")  # entries of a prediction beside those of its heads


def named_tasks(task: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return the name of the task of each head, by head name. Heads are named after their tasks unless `task` is a mapping.

    Raises:
        UnknownNameError: a task is unknown.
        InputError: there is no head, two heads have the same name, or a name can't be used.
    """
    listed = [(task, task)] if isinstance(task, str) else [*task.items()] if isinstance(task, Mapping) else [(each, each) for each in task]
    if not listed:
        raise InputError("task is empty; expected at least one task")
    for name, kind in listed:
        get_task(kind)
        check_name(name)
    names = [name for name, _ in listed]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f'two heads have the name {double!r}; give them different names: task={{"NAME": "{dict(listed)[double]}", …}}')
    return dict(listed)


def check_name(name: str) -> None:
    """Raise an `InputError` unless a head can have this name, which is part of the names of its parameters and losses."""
    if not _NAME.fullmatch(name):
        raise InputError(f"a head is named {name!r}; expected letters, digits, _ and -")
    if hasattr(nn.ModuleDict(), name):
        raise InputError(f"a head is named {name!r}, which PyTorch reserves; choose another name, such as {name + '_head'!r}")
    if name in _ENTRIES:
        raise InputError(f"a head is named {name!r}, which is an entry of predictions; choose another name, such as {name + '_head'!r}")


def per_head(what: str, value: Any, tasks: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of an argument for each head. With several heads, it must be a mapping from head name to value, or None."""
    if isinstance(value, Mapping):
        for name in value:
            if name not in tasks:
                raise UnknownNameError(f"head in {what}:", name, tasks)
        return {name: value.get(name) for name in tasks}
    if value is not None and len(tasks) > 1:
        raise InputError(f"{what} is {value!r}; expected a mapping from head name ({', '.join(tasks)}) to {what}")
    return dict.fromkeys(tasks, value)


def head_data(heads: Iterable[str], data: object, what: str = "data") -> dict[str, Any]:
    """Return the data of each head that has any, by head name in the order of the model.

    Args:
        heads: names of the heads.
        data: a mapping from head name to data. If several heads are labelled by the same samples, the key may be a tuple of their names, or
            their names separated by commas. The only head of a model may have data without a mapping.
        what: name of the argument, for messages.

    Raises:
        UnknownNameError: there is no head of that name.
        InputError: `data` isn't a mapping, is empty, or has several entries for one head.
    """
    names, found = [*heads], dict[str, Any]()
    if not isinstance(data, Mapping):
        if len(names) == 1:
            return {names[0]: data}
        shown = repr(data) if isinstance(data, str | os.PathLike) else f"a {type(data).__name__}"
        raise InputError(
            f"{what} is {shown}, but the model has several heads ({', '.join(names)}); pass a mapping from head name, such as "
            f"{{{names[0]!r}: …}} (--{what} {names[0]}=…), or take one head out with zoo.split(model, NAME)"
        )
    for key, value in data.items():
        for name in (part.strip() for part in (key.split(",") if isinstance(key, str) else key)):
            if name not in names:
                raise UnknownNameError(f"head in {what}:", name, names)
            if name in found:
                raise InputError(f"{what} has several entries for the head {name!r}; expected one")
            found[name] = value
    if not found:
        raise InputError(f"{what} is an empty mapping; expected an entry for at least one of the heads {', '.join(names)}")
    return {name: found[name] for name in names if name in found}


def by_head(tasks: Mapping[str, Task], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options of each head by head name.

    A value that is a mapping from head names applies to these heads. Any other value applies to all heads whose task has the option.

    Raises:
        UnknownNameError: no task, or not the task of the named head, has the option; or the value is a mapping from an unknown head.
        InputError: the value is an empty mapping.
    """
    known = {name: {option.name for option in fields(task.building.options)} for name, task in tasks.items()}
    found: dict[str, dict[str, Any]] = {name: {} for name in tasks}
    for option, value in options.items():
        if isinstance(value, Mapping) and value and set(value) <= set(tasks):
            for name, own in value.items():
                found[name][option] = own
            continue
        having = [name for name in tasks if option in known[name]]
        if isinstance(value, Mapping) and having and not any(_takes_mapping(tasks[name], option) for name in having):
            if not value:
                raise InputError(f"{option} is an empty mapping; expected a value, or a mapping from head name to value")
            raise UnknownNameError(f"head in {option}:", next(str(name) for name in value if name not in tasks), tasks)
        if not having and len(tasks) > 1:
            raise UnknownNameError(f"option of the heads {', '.join(tasks)}:", option, {*set().union(*known.values()), "freeze"})
        for name in having or tasks:  # the only task reports an unknown option
            found[name][option] = value
    return found


def _takes_mapping(task: Task, option: str) -> bool:
    """Return whether the value of an option is itself a mapping, as that of attributes."""
    kind = get_type_hints(task.building.options)[option]
    return any(get_origin(each) is Mapping for each in (kind, *get_args(kind)))


def sharing(heads: Mapping[str, HeadConfig], options: Mapping[str, Any]) -> dict[str, HeadConfig]:
    """Let heads use the preprocessing of the first head that needs its own, so that they share its pass.

    Classifiers do so, unless `options` sets their size with a mapping from head name. Faces are aligned, which others can't share.
    """
    ways = [head.preprocess for head in heads.values() if not _accepts(head.task, {}) and head.preprocess.alignment is None]
    explicit = {option: value for option, value in options.items() if isinstance(value, Mapping) and set(value) <= set(heads)}
    own = {name: {option: value[name] for option, value in explicit.items() if name in value} for name in heads}
    return {name: replace(head, preprocess=ways[0]) if ways and _accepts(head.task, own[name]) else head for name, head in heads.items()}


def _accepts(task: str, options: Mapping[str, Any]) -> bool:
    found = get_task(task)
    return found.building.accepts_any_size(found.parse_options(options))


def check_passes(config: ModelConfig, passes: int | None) -> None:
    """Raise an `InputError` if an image needs more than this number of passes through the backbone; None allows any number."""
    ways = config.passes
    if passes is not None and len(ways) > passes:
        raise InputError(f"passes is {passes}, but the heads need {len(ways)} passes through the backbone: {differences(ways)}")
