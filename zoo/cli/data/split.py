"""The `zoo data split` command."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from zoo.cli.context import print_json, progress_of
from zoo.cli.data.check import task_of
from zoo.cli.data.flags import DataSplitFlags
from zoo.curation.grouping import parse_parts
from zoo.curation.split import Divided
from zoo.curation.split import split as divide
from zoo.data.formats import DataRef
from zoo.task.contract import get_task

_SHOWN = 40  # maximum number of classes in the table


def split(flags: DataSplitFlags) -> int:
    """Run the command and return its exit status."""
    parts = parse_parts(flags.parts)
    task = get_task(flags.task_name or task_of(DataRef.parse(flags.data)), flags.options)
    with progress_of(flags.quiet) as progress:
        done = divide(
            flags.data, flags.out, task, parts,
            groups=flags.groups, seed=flags.seed, pictures=flags.pictures, lossy=flags.lossy, skip_bad=flags.skip_bad, progress=progress,
            warn=lambda text: print(f"warning: {text}", file=sys.stderr),
        )  # fmt: skip
    if flags.json:
        print_json(done.to_dict())
    else:
        _print(done)
    return 0


def _print(done: Divided) -> None:
    parts = done.shares
    for fault in done.skipped:
        print(f"skipped: {fault}", file=sys.stderr)
    total = sum(done.pictures.values())
    table = Table("", *(f"{part} (requested {100 * share:.3g}%)" for part, share in parts.items()))
    table.add_row("images", *(_share(done.pictures[part], total) for part in parts))
    for name, found in list(done.classes.items())[:_SHOWN]:
        table.add_row(name, *(_share(found[part], sum(found.values())) for part in parts))
    Console(highlight=False, markup=False, emoji=False).print(table)
    if len(done.classes) > _SHOWN:
        print(f"… and {len(done.classes) - _SHOWN} more classes; --json lists all")
    print(f"{total} images in {done.groups} groups. Open the parts as:")
    for data in done.data.values():
        print(f"  {data}")


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else "0"
