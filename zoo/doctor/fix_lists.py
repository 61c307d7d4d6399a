"""Cleaned copies of tables and of YOLO's label files, and lists of what to keep for formats that are folders alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo import tabular
from zoo.doctor.examination import Examination
from zoo.doctor.fix import Box, Change, as_csv, lost_files, mend_box, sizes_hw
from zoo.files import write_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_list(examination: Examination, out: Path) -> Iterator[Change]:
    """Write `labels.csv` (path, label, and split where there are splits): the samples that can be read.

    Folders are their own annotation, and the copy is the table that says the same: for classification open it with
    `csv:OUT/labels.csv?root=DATA`.
    """
    lost = lost_files(examination)
    rows = []
    for item in examination.opened.items:
        if item.file in lost:
            yield Change("removed", item.key, "", lost[item.file])
        else:
            rows.append([item.key, " ".join(item.labels), *item.splits[:1]])
    header = ["path", "label", "split"] if any(len(row) > 2 for row in rows) else ["path", "label"]
    write_text(out / "labels.csv", as_csv(header, rows))


def write_table(examination: Examination, out: Path) -> Iterator[Change]:
    """Write the table without its faulty rows, with boxes mended; Parquet becomes CSV."""
    table = examination.opened.path
    assert table is not None
    sizes = {file.resolve(): size for file, size in sizes_hw(examination).items()}
    lost = {file.resolve(): reason for file, reason in lost_files(examination).items()}
    faulty = {f.place: f for f in examination.findings.findings if f.place.startswith(("line ", "row ")) and f.key.endswith(table.name)}
    folders = {file.parents[len(Path(item.key).parts) - 1] for item in examination.opened.items if (file := item.file) is not None}
    header: list[str] = []
    rows: list[list[str]] = []
    seen: set[tuple[str, ...]] = set()
    for row in tabular.rows(table, ("path",), (*_SIDES, "label", "split"), []):
        header = header or list(row.values)
        place = row.place.removeprefix(f"{table} ")
        values = dict(row.values)
        file = next((path for folder in folders if (path := (folder / values["path"]).resolve()) in sizes or path in lost), None)
        fault = faulty.get(place)
        if file in lost:
            yield Change("removed", table.name, place, f"{values['path']} {lost[file]}")
            continue
        if fault is not None and not (fault.box and fault.kind in ("box-outside", "box-swapped") and file in sizes):
            yield Change("removed", table.name, place, fault.text)
            continue
        if fault is not None and fault.box is not None and file is not None:
            box, what = mend_box(fault.box, sizes[file])
            if box is None:
                yield Change("removed", table.name, place, f"{fault.text}: {what}")
                continue
            values |= {side: f"{value:g}" for side, value in zip(_SIDES, box, strict=True)}
            yield Change("changed", table.name, place, f"the box {list(fault.box)} is now {list(box)}: {what}")
        cells = tuple(values.values())
        if cells in seen:
            yield Change("removed", table.name, place, "the same row stands above")
            continue
        seen.add(cells)
        rows.append(list(cells))
    is_tsv = table.suffix.lower() == ".tsv"
    write_text(out / f"{table.stem}{'.tsv' if is_tsv else '.csv'}", as_csv(header, rows, "\t" if is_tsv else ","))


def write_yolo(examination: Examination, out: Path) -> Iterator[Change]:
    """Write every label file, cleaned, at its place below the folder."""
    root = examination.opened.root
    assert root is not None
    count = max((len(names) for names in examination.opened.classes.values()), default=0)
    lost = {file.stem: reason for file, reason in lost_files(examination).items()}
    stems = {item.file.stem for item in examination.opened.items if item.file is not None}
    for file in sorted(path for path in root.rglob("*.txt") if "labels" in path.relative_to(root).parts[:-1]):
        name = file.relative_to(root).as_posix()
        if file.stem not in stems or file.stem in lost:
            yield Change("removed", name, "", lost.get(file.stem, "its picture is not there or can't be read"))
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
    """Return a line of class, centre x, centre y, width and height (parts of the picture) mended, or "", and what was done."""
    parts = line.split()
    if not parts:
        return "", ""
    try:
        label, (x, y, width, height) = int(parts[0]), map(float, parts[1:])
    except ValueError:
        return "", "not a class and four numbers"
    if not 0 <= label < classes:
        return "", f"class {label} is not among the {classes} classes"
    if line.strip() in before:
        return "", "given twice"
    given: Box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    # halving and adding rounds; a box at the very edge is not one that sticks out
    box, what = mend_box(tuple(round(side, 9) for side in given), (1, 1))  # type: ignore[arg-type]  # four again
    if box is None:
        return "", what
    if not what:
        return line.strip(), ""
    left, top, right, bottom = box
    return f"{label} {(left + right) / 2:.9g} {(top + bottom) / 2:.9g} {right - left:.9g} {bottom - top:.9g}", what
