"""Write cleaned copies of annotations. Images are never modified, and every change is recorded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple
from functools import partial
from pathlib import Path

from zoo.curation.check import fix_boxes
from zoo.curation.check.examination import Examination
from zoo.curation.check.findings import Finding
from zoo.curation.check.fix_boxes import Change, mend_box
from zoo.curation.check.pictures import Facts
from zoo.data import tables
from zoo.data.classes import FILE as CLASSES
from zoo.data.classes import read_classes, write_order
from zoo.data.columns import find_boxes, find_columns
from zoo.data.formats import DataRef
from zoo.data.moved import tails
from zoo.errors import Box, InputError
from zoo.system.files import draft_folder, write_text

CHANGES = "changes.csv"
_FIXED = {
    "unreadable", "truncated", "missing-file", "huge", "wrong-size", "no-picture", "repeated-id", "unknown-label",
    "box-no-area", "box-outside", "box-swapped", "box-duplicate",
}  # fmt: skip
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_cleaned(examination: Examination, out: Path) -> list[Change]:
    """Write a cleaned copy of the annotations, and a list of all changes (`changes.csv`), to a folder.

    Samples are removed if their image is missing or can't be read. Boxes are removed if they have no area, lie entirely outside the image
    or are duplicates, and labels are removed if they match no class. Boxes that extend beyond the image are clipped, swapped corners are
    reordered, and duplicate ids are replaced. All other findings are listed as "kept", because fixing them would be a guess: for example,
    only the owner of the dataset can decide which of two contradictory labels is right.

    The dataset must consist of image files and be opened without `split=`, `classes=` and `limit=`. The output of an earlier run is
    replaced. Return the rows of `changes.csv`.
    """
    opened = examination.opened
    if opened.root is None or opened.path is None or not opened.whole:
        raise InputError("--fix needs a whole dataset stored in files; pass its path without split=, classes= and limit=")
    if not opened.filed:
        raise InputError(f"--fix needs one file per image, but {opened.name} stores several images per file; such files can't be rewritten")
    if DataRef.parse(opened.name).options.get("frame") == "stored":
        raise InputError("--fix keeps boxes as they were annotated; convert the dataset with frame=stored first, and check the copy")
    if opened.scheme == "csv" and opened.path.is_dir():
        raise InputError(f"--fix needs one table, but {opened.name} is a folder; pass the table in it, or one after the other")
    if out.resolve() == opened.root.resolve():
        raise InputError(f"--fix {out} is the dataset folder, which is never overwritten; choose another folder")
    writers: Mapping[str, Callable[[Examination, Path], Iterable[Change]]] = {
        "coco": fix_boxes.write_coco,
        "voc": fix_boxes.write_voc,
        "yolo": fix_boxes.write_yolo,
        "csv": _write_table,
    }
    with draft_folder(out, CHANGES) as draft:
        changes = list(writers.get(opened.scheme, _write_list)(examination, draft))
        left = [finding for finding in examination.findings.findings if not _is_fixed(finding, changes, opened.path.name)]
        changes += [Change("kept", finding.key, finding.place, f"{finding.kind}: {finding.text}") for finding in left]
        write_text(draft / CHANGES, tables.as_csv(["action", "file", "place", "text"], map(astuple, changes)))
    return changes


def _is_fixed(finding: Finding, changes: list[Change], table: str) -> bool:
    """Return whether a finding was fixed, or is only a note.

    A change fixes a finding at the same place. For kinds in `_FIXED`, any change to the annotations of the same image does.
    """
    if finding.severity == "note":
        return True
    name = Path(finding.key).stem  # an image and its annotation file share their stem
    related = [change for change in changes if Path(change.file).stem == name or change.file == table]
    return any(change.place == finding.place != "" for change in related) or (finding.kind in _FIXED and bool(related))


def _write_list(examination: Examination, out: Path) -> Iterator[Change]:
    """Write the readable samples to `labels.csv`, with the columns path, label and, if there are splits, split.

    A dataset of folders has no annotation file to clean, so this table replaces it. For classification, it can be opened with
    `csv:OUT/labels.csv?root=DATA`.
    """
    rows = []
    for item, fact in zip(examination.opened.items, examination.facts, strict=True):
        if fact.fault:
            yield Change("removed", item.key, "", fact.fault)
        else:
            rows.append([item.key, " ".join(item.labels), *item.splits[:1]])
    header = ["path", "label", "split"] if any(len(row) > 2 for row in rows) else ["path", "label"]
    write_text(out / "labels.csv", tables.as_csv(header, rows))
    classes = dict.fromkeys(name for names in examination.opened.classes.values() for name in names)
    # names that could be taken for several labels, or for numbers that became fractions
    write_order(list(classes), [] if any(re.search(r"[\s,;|\[]|\.0", name) for name in classes) else list(classes), out)


def _write_table(examination: Examination, out: Path) -> Iterator[Change]:
    """Write the table with corrected boxes and without invalid rows. A Parquet table is written as CSV."""
    table = examination.opened.path
    assert table is not None
    pairs = list(zip(examination.opened.items, examination.facts, strict=True))
    facts = {str(item.record.path): fact for item, fact in pairs} | {item.key: fact for item, fact in pairs}
    facts |= {os.path.splitext(item.key)[0]: fact for item, fact in reversed(pairs) if os.path.splitext(item.key)[0] not in facts}
    faults = {found.place: found for found in examination.findings.findings if found.key.endswith(table.name)}
    header: list[str] = []
    rows: dict[tuple[str, ...], None] = {}
    find = partial(find_columns, required=("path",), optional=(*_SIDES, "label", "split"))
    opened = tables.Table.open(table, find, encoding=examination.opened.encoding)
    form, names = find_boxes(opened.found.header) or ("", ())
    opened.found.names |= dict(zip(_SIDES, names, strict=True)) if form == "corners" else {}
    opened.found.names |= {name: name for name in opened.found.header if name not in opened.found.names.values()}
    for row in opened.rows([], _SIDES):
        header = header or list(row.values)
        paths = (os.path.normpath(row.values["path"]), *tails(row.values["path"]))
        fact = next((facts[path] for path in paths if path in facts), None)
        values, change = _fixed(row.values, fact, faults.get(row.line))
        cells = tuple(values.values())
        if cells in rows:
            values, change = {}, "duplicate of an earlier row"
        if values:
            rows[cells] = None
        if change:
            yield Change("changed" if values else "removed", table.name, row.line, change)
    if (table.parent / CLASSES).is_file():
        write_order(read_classes(table.parent / CLASSES), [], out)
    is_tsv = table.suffix.lower() == ".tsv"
    write_text(out / f"{table.stem}{'.tsv' if is_tsv else '.csv'}", tables.as_csv(header, rows, "\t" if is_tsv else ","))


def _fixed(values: Mapping[str, str], fact: Facts | None, fault: Finding | None) -> tuple[dict[str, str], str]:
    """Fix a row of a table, given the properties of its image, if known, and the annotation error in this row, if there is one.

    Return the fixed row, or an empty dict if it must be removed; and a description of the change ("" for none).
    """
    if fact is not None and fact.fault:
        return {}, f"{values['path']} {fact.fault}"
    if fault is None:
        return dict(values), ""
    mendable = fault.kind in ("box-outside", "box-swapped")
    if fact is None or fault.box is None or not mendable or not _is_box(values, fault.box):
        return {}, fault.text
    box, what = mend_box(fault.box, fact.size_hw)
    if box is None:
        return {}, f"{fault.text}: {what}"
    sides = {side: f"{value:g}" for side, value in zip(_SIDES, box, strict=True)}
    return {**values, **sides}, f"box {list(fault.box)} changed to {list(box)}: {what}"


def _is_box(values: Mapping[str, str], box: Box) -> bool:
    """Return whether a row's columns contain a box directly, in pixels. Boxes in other forms can't be rewritten."""
    try:
        return tuple(float(values[side]) for side in _SIDES) == box
    except (KeyError, ValueError):
        return False
