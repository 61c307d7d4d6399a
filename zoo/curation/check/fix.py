"""A cleaned copy of the annotations; the pictures are never touched, and every change is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple
from pathlib import Path

from zoo.curation.check.changes import Change, as_csv
from zoo.curation.check.examination import Examination
from zoo.curation.check.findings import Finding
from zoo.errors import InputError
from zoo.system.files import draft_folder, write_text

CHANGES = "changes.csv"
_MENDED = {
    "unreadable", "truncated", "missing-file", "huge", "no-picture", "repeated-id", "unknown-label",
    "box-no-area", "box-outside", "box-swapped", "box-duplicate",
}  # fmt: skip


def write_cleaned(examination: Examination, out: Path) -> list[Change]:
    """Write a cleaned copy of the annotations into a folder, with `changes.csv`.

    Removed are: samples whose picture can't be read or is not there, boxes without area, wholly outside or given twice, labels that are no
    class. Changed are: boxes that stick out (cut at the picture's edge), swapped corners (put in order), ids given twice (a new id).
    Everything else that was found is kept and said: which of two equal pictures is the right one, nobody but the owner knows.

    Args:
        examination: of data in files, all of it: without `split=`, `classes=` and `limit=`.
        out: the folder; one that an earlier run wrote is replaced.

    Returns:
        What was written into `changes.csv`.

    Raises:
        InputError: the data isn't in files of pictures or only in part, or `out` lies in it or is taken by something else.
    """
    from zoo.curation.check import fix_boxes, fix_tables, fix_yolo

    opened = examination.opened
    if opened.root is None or opened.path is None or not opened.whole:
        raise InputError("--fix needs the whole of a data set in files: a path without split=, classes= and limit=")
    if not opened.filed:
        raise InputError(
            f"--fix needs pictures in files of their own; {opened.name} keeps them together in larger ones, and is not rewritten"
        )
    if out.resolve() == opened.root.resolve():
        raise InputError(f"--fix {out} is the data's own folder; choose another place, nothing of the data is overwritten")
    writers: Mapping[str, Callable[[Examination, Path], Iterable[Change]]] = {
        "coco": fix_boxes.write_coco,
        "voc": fix_boxes.write_voc,
        "yolo": fix_yolo.write_yolo,
        "csv": fix_tables.write_table,
    }
    with draft_folder(out, CHANGES) as draft:
        changes = list(writers.get(opened.scheme, fix_tables.write_list)(examination, draft))
        changes += [_kept(finding) for finding in examination.findings.findings if not _is_mended(finding, changes, opened.path.name)]
        write_text(draft / CHANGES, as_csv(["action", "file", "place", "text"], map(astuple, changes)))
    return changes


def _is_mended(finding: Finding, changes: list[Change], table: str) -> bool:
    """Tell whether the changes answer a finding: at its very place, or, for what is always mended, in its picture's annotations."""
    if finding.severity == "note":
        return True
    name = Path(finding.key).stem  # which a picture shares with its annotation file
    mine = [change for change in changes if Path(change.file).stem == name or change.file == table]
    return any(change.place == finding.place != "" for change in mine) or (finding.kind in _MENDED and bool(mine))


def _kept(finding: Finding) -> Change:
    return Change("kept", finding.key, finding.place, f"{finding.kind}: {finding.text}")
