"""The `zoo data check` command."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from zoo.cli.context import print_json, progress_of
from zoo.cli.data.flags import DataCheckFlags
from zoo.curation.check.examination import examine
from zoo.curation.check.findings import KINDS, Findings
from zoo.curation.check.fix import write_cleaned
from zoo.curation.check.report import write_report
from zoo.data.formats import DataRef, matches
from zoo.system.wording import counted
from zoo.task.contract import get_task, list_tasks

_PRINTED = 10  # maximum number of findings printed per kind; --json and --report contain all


def check(flags: DataCheckFlags) -> int:
    """Run the command and return its exit status: 1 if there are errors or warnings, otherwise 0."""
    task = flags.task_name or task_of(DataRef.parse(flags.data))
    with progress_of(flags.quiet) as progress:
        examination = examine(flags.data, task, options=flags.options, near=flags.near, workers=flags.workers, progress=progress)
        if flags.report is not None:
            write_report(examination, flags.report)
            progress.say(f"report: {flags.report}")
    changes = None if flags.fix is None else write_cleaned(examination, flags.fix)
    found = examination.findings
    if flags.json:
        more = {} if changes is None else {"changes": [asdict(change) for change in changes]}
        print_json(found.to_dict() | more)
    else:
        _print(found)
        if changes is not None:
            done = sum(change.action != "kept" for change in changes)
            print(f"{flags.fix}: cleaned annotations; {done} changes and {len(changes) - done} remaining findings, listed in changes.csv")
    return 0 if found.ok else 1


def task_of(ref: DataRef) -> str:
    """Return the task of a dataset: the first that supports its scheme and recognises its path, else the first that supports the scheme."""
    path = Path(ref.path).expanduser()
    able = [name for name in list_tasks() if ref.scheme in ("", *get_task(name).data.schemes)]
    for name in able if len(able) > 1 and path.exists() else ():
        found = matches(path, get_task(name).data.schemes)
        if ref.scheme in found if ref.scheme else found:
            return name
    return able[0] if able and ref.scheme else "classification"


def _print(found: Findings) -> None:
    for kind, count in found.counts.items():
        findings = found.of(kind)
        print(f"{findings[0].severity}: {kind} – {KINDS[kind].title} ({count})")
        for finding in findings[:_PRINTED]:
            print(f"  {finding}")
        if count > _PRINTED:
            print(f"  … and {count - _PRINTED} more; see --json or --report")
    for name, values in found.attributes.items():
        shown = ", ".join(f"{value} {count}" for value, count in list(values.items())[:_PRINTED])
        print(f"attribute {name}: {shown}{', …' if len(values) > _PRINTED else ''}")
    splits = ", ".join(f"{name or 'no split'} {count}" for name, count in found.splits.items())
    wrong = sum(finding.severity != "note" for finding in found.findings)
    verdict = "no problems" if found.ok else f"{counted(wrong, 'finding')}, {counted(len(found.findings) - wrong, 'note')}"
    print(f"{found.data}: {found.pictures} images{f' ({splits})' if splits else ''}: {verdict}", file=sys.stderr)
