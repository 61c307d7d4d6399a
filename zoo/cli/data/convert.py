"""The `zoo data convert` command."""

from __future__ import annotations

import sys

from zoo.cli.context import print_json, progress_of
from zoo.cli.data.check import task_of
from zoo.cli.data.flags import DataConvertFlags
from zoo.curation.convert import convert as write
from zoo.data.formats import DataRef
from zoo.task.contract import get_task, list_tasks


def convert(flags: DataConvertFlags) -> int:
    """Run the command and return its exit status."""
    task = get_task(flags.task_name or _task(DataRef.parse(flags.source), DataRef.parse(flags.target).scheme), flags.options)
    with progress_of(flags.quiet) as progress:
        done = write(
            flags.source, flags.target, task, pictures=flags.pictures, lossy=flags.lossy, skip_bad=flags.skip_bad, progress=progress
        )
    if flags.json:
        print_json(done.to_dict())
        return 0
    for text in done.losses:
        print(f"lost: {text}", file=sys.stderr)
    for fault in done.skipped:
        print(f"skipped: {fault}", file=sys.stderr)
    print(f"{done.pictures} images, {done.linked} of them hard links to the originals; {len(done.classes)} classes. Open it as:")
    for data in done.data:
        print(f"  {data}")
    return 0


def _task(source: DataRef, new: str) -> str:
    """Return the task of a conversion, which must support the target scheme `new`, since several tasks read tables and folders."""
    able = [name for name in list_tasks() if (writers := get_task(name).data.writers) is not None and new in writers]
    fitting = [name for name in able if not source.scheme or source.scheme in get_task(name).data.schemes]
    guessed = task_of(source)
    return guessed if guessed in fitting or not fitting else fitting[0]
