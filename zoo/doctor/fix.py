"""A cleaned copy of the annotations; the pictures are never touched, and every change is written down."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from zoo.doctor.examination import Examination
from zoo.doctor.findings import Finding
from zoo.errors import Box, InputError
from zoo.files import draft_folder, write_text

CHANGES = "changes.csv"
_MENDED = {
    "unreadable", "truncated", "missing-file", "huge", "no-picture", "repeated-id", "unknown-label",
    "box-no-area", "box-outside", "box-swapped", "box-duplicate",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One line of `changes.csv`.

    Attributes:
        action: removed, changed, or kept – found wrong, and left as it is because mending it would be a guess.
        file: the annotation file or picture.
        place: where in it.
        text: what was done, and why.
    """

    action: Literal["removed", "changed", "kept"]
    file: str
    place: str
    text: str


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
    from zoo.doctor import fix_boxes, fix_tables, fix_yolo

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


def as_csv(header: Iterable[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return a table as text."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def lost_files(examination: Examination) -> dict[Path, str]:
    """Return the pictures that can't be read, with the reason."""
    pairs = zip(examination.opened.items, examination.facts, strict=True)
    return {item.file: fact.fault for item, fact in pairs if fact.fault and item.file is not None}


def sizes_hw(examination: Examination) -> dict[Path, tuple[int, int]]:
    """Return the height and width of every picture that can be read."""
    pairs = zip(examination.opened.items, examination.facts, strict=True)
    return {item.file: fact.size_hw for item, fact in pairs if not fact.fault and item.file is not None}


def mend_box(box: Box, size_hw: tuple[float, float]) -> tuple[Box | None, str]:
    """Mend a box where there is only one way to.

    Args:
        box: xyxy.
        size_hw: of the picture, in the same unit.

    Returns:
        The box with its corners in order and within the picture, or None where nothing of it is left; and what was done, or "".
    """
    height, width = size_hw
    left, right = sorted((box[0], box[2]))
    top, bottom = sorted((box[1], box[3]))
    done = ["corners put in order"] if (left, top, right, bottom) != box else []
    inside = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
    if left == right or top == bottom:
        return None, "no area"
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, "wholly outside the picture"
    if inside != (left, top, right, bottom):
        done.append("cut at the picture's edge")
    return inside, " and ".join(done)
