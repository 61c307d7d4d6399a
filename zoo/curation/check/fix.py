"""Cleaned copies of annotations; images are never modified, and every change is recorded."""

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
_FIXED = {
    "unreadable", "truncated", "missing-file", "huge", "no-picture", "repeated-id", "unknown-label",
    "box-no-area", "box-outside", "box-swapped", "box-duplicate",
}  # fmt: skip


def write_cleaned(examination: Examination, out: Path) -> list[Change]:
    """Write a cleaned copy of the annotations to a folder, with a `changes.csv`.

    Removed: samples whose image is missing or can't be read; boxes that have no area, lie entirely outside the image or are duplicates;
    labels that match no class. Changed: boxes that extend beyond the image (clipped), swapped corners (reordered) and duplicate ids
    (replaced). All other findings are kept and listed: only the owner can decide, for example, which of two identical images is right.

    Args:
        examination: check of a whole dataset of image files, without `split=`, `classes=` and `limit=`.
        out: output folder; the output of an earlier run is replaced.

    Returns:
        The rows of `changes.csv`.

    Raises:
        InputError: the data isn't stored as image files or was read only in part, or `out` is the dataset folder or otherwise occupied.
    """
    from zoo.curation.check import fix_boxes, fix_tables, fix_yolo

    opened = examination.opened
    if opened.root is None or opened.path is None or not opened.whole:
        raise InputError("--fix needs a whole dataset in files: a path without split=, classes= and limit=")
    if not opened.filed:
        raise InputError(f"--fix needs one file per image; {opened.name} packs its images into larger files, which are not rewritten")
    if out.resolve() == opened.root.resolve():
        raise InputError(f"--fix {out} is the folder of the dataset; choose another folder, the dataset is never overwritten")
    writers: Mapping[str, Callable[[Examination, Path], Iterable[Change]]] = {
        "coco": fix_boxes.write_coco,
        "voc": fix_boxes.write_voc,
        "yolo": fix_yolo.write_yolo,
        "csv": fix_tables.write_table,
    }
    with draft_folder(out, CHANGES) as draft:
        changes = list(writers.get(opened.scheme, fix_tables.write_list)(examination, draft))
        changes += [_kept(finding) for finding in examination.findings.findings if not _is_fixed(finding, changes, opened.path.name)]
        write_text(draft / CHANGES, as_csv(["action", "file", "place", "text"], map(astuple, changes)))
    return changes


def _is_fixed(finding: Finding, changes: list[Change], table: str) -> bool:
    """Return whether the changes fix a finding: at the same place or, for kinds that are always fixed, in the same image's annotations."""
    if finding.severity == "note":
        return True
    name = Path(finding.key).stem  # an image and its annotation file share their stem
    related = [change for change in changes if Path(change.file).stem == name or change.file == table]
    return any(change.place == finding.place != "" for change in related) or (finding.kind in _FIXED and bool(related))


def _kept(finding: Finding) -> Change:
    return Change("kept", finding.key, finding.place, f"{finding.kind}: {finding.text}")
