"""The `zoo list` and `zoo info` commands."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json
from zoo.errors import InputError


@dataclass(frozen=True)
class ListFlags:
    """List all tasks, and the backbones that match a pattern; or weights with their licences."""

    pattern: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[PATTERN]")] = "*"
    """Shell pattern for the names of backbones, such as "resnet*", or of weights, such as "resnet50.*"."""
    weights: bool = False
    """List weights (BACKBONE.NAME) with licence and source instead of backbones."""
    json: Json = False


def list_names(flags: ListFlags) -> int:
    """Print the names of the backbones or weights that match a pattern, and return the exit status."""
    return _list_weights(flags) if flags.weights else _list_backbones(flags)


def _list_weights(flags: ListFlags) -> int:
    from zoo.models.weights.names import all_licences

    found = all_licences(flags.pattern)
    if flags.json:
        print_json({"weights": [{**each.to_dict(), "permissive": each.permissive} for each in found]})
        return 0
    if not found:
        raise InputError(f'no weights match {flags.pattern!r}; list all with: zoo list --weights "*"')
    width, wide = (max(len(getattr(each, name)) for each in found) for name in ("weights", "licence"))
    print("\n".join(f"{each.weights:{width}}  {each.licence:{wide}}  {each.source}" for each in found))
    return 0


def _list_backbones(flags: ListFlags) -> int:
    from zoo.backbones import BACKBONES
    from zoo.task.contract import TASKS

    names = BACKBONES.names(flags.pattern)
    if flags.json:
        print_json({"backbones": names, "tasks": TASKS.names()})
        return 0
    if not names:
        raise InputError(f'no backbone matches {flags.pattern!r}; list all with: zoo list "*"')
    print("\n".join(names))
    print(f"{len(names)} backbones; tasks: {', '.join(TASKS)}", file=sys.stderr)
    return 0


@dataclass(frozen=True)
class InfoFlags:
    """Describe a backbone, a task, weights or a saved model."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of a backbone, a task or weights (resnet50.a1_in1k), the folder of a run or saved model, or hf:OWNER/NAME."""
    json: Json = False


def run(flags: InfoFlags) -> int:
    """Describe a backbone, a task, weights or a saved model, and return the exit status."""
    from zoo.cli.tables import print_info
    from zoo.models.info import info

    show = print_json if flags.json else print_info
    show(info(flags.name))
    return 0
