"""The `zoo list` command."""

from __future__ import annotations

import sys

from zoo.cli.context import print_json
from zoo.cli.flags import ListFlags
from zoo.errors import InputError


def run(flags: ListFlags) -> int:
    """Print the names of the backbones that match a pattern, and return the exit status.

    Raises:
        InputError: no backbone matches the pattern.
    """
    from zoo.backbones import BACKBONES
    from zoo.task.contract import TASKS

    names = BACKBONES.names(flags.pattern)
    if flags.json:
        print_json({"backbones": names, "tasks": TASKS.names()})
        return 0
    if not names:
        raise InputError(f'no backbone matches {flags.pattern!r}; list all with: zoo list "*"')
    for name in names:
        print(name)
    print(f"{len(names)} backbones; tasks: {', '.join(TASKS)}", file=sys.stderr)
    return 0
