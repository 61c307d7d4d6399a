"""Cleaned copies of YOLO label files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.curation.check.changes import Change, lost_files, mend_box
from zoo.curation.check.examination import Examination
from zoo.errors import Box
from zoo.system.files import write_text


def write_yolo(examination: Examination, out: Path) -> Iterator[Change]:
    """Write a cleaned copy of every label file under the same relative path."""
    root = examination.opened.root
    assert root is not None
    count = max((len(names) for names in examination.opened.classes.values()), default=0)
    lost = {file.stem: reason for file, reason in lost_files(examination).items()}
    stems = {item.file.stem for item in examination.opened.items if item.file is not None}
    for file in sorted(path for path in root.rglob("*.txt") if "labels" in path.relative_to(root).parts[:-1]):
        name = file.relative_to(root).as_posix()
        if file.stem not in stems or file.stem in lost:
            yield Change("removed", name, "", lost.get(file.stem, "its image is missing or can't be read"))
            continue
        lines: list[str] = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            kept, change = _clean_line(line, count, lines)
            if kept:
                lines.append(kept)
            if change:
                yield Change("changed" if kept else "removed", name, f"line {number}", f"{line!r}: {change}")
        write_text(out / name, "".join(f"{line}\n" for line in lines))


def _clean_line(line: str, classes: int, before: list[str]) -> tuple[str, str]:
    """Fix a line of class, centre x, centre y, width and height (fractions of the image).

    Returns:
        The fixed line, or "" if it must be removed; and a description of the change ("" for none).
    """
    parts = line.split()
    if not parts:
        return "", ""
    try:
        label, (x, y, width, height) = int(parts[0]), map(float, parts[1:])
    except ValueError:
        return "", "expected a class and four numbers"
    if not 0 <= label < classes:
        return "", f"class {label} is not among the {classes} classes"
    if line.strip() in before:
        return "", "duplicate"
    given: Box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    # rounded: rounding errors must not make a box at the edge extend beyond the image
    box, what = mend_box(tuple(round(side, 9) for side in given), (1, 1))  # type: ignore[arg-type]  # four again
    if box is None:
        return "", what
    if not what:
        return line.strip(), ""
    left, top, right, bottom = box
    return f"{label} {(left + right) / 2:.9g} {(top + bottom) / 2:.9g} {right - left:.9g} {bottom - top:.9g}", what
