"""The `zoo data check` command."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cli.data.flags import DataCheckFlags
from zoo.curation.check.findings import KINDS, Findings
from zoo.data.formats import Scheme
from zoo.data.reference import DataRef

if TYPE_CHECKING:
    from zoo.curation.check.changes import Change

_PRINTED = 10  # findings printed per kind; --json and --report have more


def check(flags: DataCheckFlags) -> int:
    """Run the command and return its exit status: 1 if there are errors or warnings.

    Raises:
        InputError: the data can't be opened, or `--fix` can't fix it.
    """
    from zoo.curation.check.examination import examine
    from zoo.curation.check.report import write_report
    from zoo.system.progress import Progress

    task = flags.task or task_of(DataRef.parse(flags.data))
    with Progress(enabled=not flags.quiet) as progress:
        examination = examine(flags.data, task, near=flags.near, workers=flags.workers, progress=progress)
        if flags.report is not None:
            write_report(examination, flags.report)
            progress.say(f"report: {flags.report}")
    changes: list[Change] | None = None
    if flags.fix is not None:
        from zoo.curation.check.fix import write_cleaned

        changes = write_cleaned(examination, flags.fix)
    found = examination.findings
    if flags.json:
        more = {} if changes is None else {"changes": [asdict(change) for change in changes]}
        print(json.dumps(found.to_dict() | more, allow_nan=False))
    else:
        _print(found)
        if changes is not None:
            done = sum(change.action != "kept" for change in changes)
            print(f"{flags.fix}: cleaned annotations; {done} changes and {len(changes) - done} remaining findings, listed in changes.csv")
    return 0 if found.ok else 1


def task_of(ref: DataRef) -> str:
    """Return the first task that has the scheme of the data or recognises its path; classification if there is none.

    Args:
        ref: the parsed dataset string.
    """
    from zoo.task.contract import get_task, list_tasks

    path = Path(ref.path).expanduser()
    for name in list_tasks():
        schemes = get_task(name).data.schemes
        if ref.scheme:
            if ref.scheme in schemes:
                return name
        elif any(_recognises(schemes[scheme], path) for scheme in schemes):
            return name
    return "classification"


def _recognises(scheme: Scheme, path: Path) -> bool:
    if path.is_dir():
        return scheme.recognise(path) is not None
    return path.is_file() and scheme.recognise_file(path) is not None


def _print(found: Findings) -> None:
    for kind, count in found.counts.items():
        findings = found.of(kind)
        print(f"{findings[0].severity}: {kind} – {KINDS[kind].title} ({count})")
        for finding in findings[:_PRINTED]:
            print(f"  {finding}")
        if count > _PRINTED:
            print(f"  … and {count - _PRINTED} more; see --json or --report")
    splits = ", ".join(f"{name or 'no split'} {count}" for name, count in found.splits.items())
    wrong = sum(finding.severity != "note" for finding in found.findings)
    verdict = "no problems" if found.ok else f"{wrong} findings, {len(found.findings) - wrong} notes"
    print(f"{found.data}: {found.pictures} images ({splits}): {verdict}", file=sys.stderr)
