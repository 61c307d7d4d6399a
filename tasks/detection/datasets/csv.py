"""The `csv:` format: a table with one box per row (path, xmin, ymin, xmax, ymax, label, optionally split) in CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import tables
from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.tasks.detection.data.targets import Target, area_of, as_target, checked_box, keep_classes
from zoo.tasks.detection.datasets import SCHEMES

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("path", *_SIDES, "label")
_MARKS = ("iscrowd", "difficult", "area")


@dataclass
class _Picture:
    """Annotations of one image, collected from its rows."""

    file: Path
    size_hw: tuple[int, int]  # in pixels
    place: str  # place of the image's first row in the table, for messages
    chosen: bool  # whether the image is in the requested split
    boxes: list[tuple[Box, str]] = field(default_factory=list)  # boxes, xyxy in pixels, with their class names
    marks: list[tuple[bool, bool, float]] = field(default_factory=list)  # iscrowd, difficult and area of each box


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a table of boxes, xyxy in pixels of the upright image. A row with only a path stands for an image without objects.

    Paths are relative to the table's folder, or to `root=`. The classes are those of the whole table, sorted, or in the order of a
    `classes.txt` next to the table. Images are in the order of their first rows. The optional columns iscrowd, difficult (0 or 1) and area
    (in square pixels, by default the area of the box) have the same meaning as in COCO and VOC.
    """
    table = ref.file()
    root = PictureRoot(ref.root_folder() or table.parent)
    splits = tables.SplitFilter(ref)
    faults: list[Fault] = []
    pictures: dict[str, _Picture] = {}
    for row in tables.rows(table, _COLUMNS, ("split", *_MARKS), faults):
        try:
            picture = _picture(row, root, splits.keeps(row), pictures)
        except Flaw as flaw:
            faults.append(row.fault(flaw, whole=True))
            continue
        try:
            box = _box(row, picture)
            marks = None if box is None else _marks(row, box)
        except Flaw as flaw:
            faults.append(row.fault(flaw))
            continue
        if box is not None and marks is not None:
            picture.boxes.append((box, row.values["label"]))
            picture.marks.append(marks)
    splits.check()
    classes = in_order(sorted({label for picture in pictures.values() for _, label in picture.boxes}), table.parent)
    number = {name: index for index, name in enumerate(classes)}
    records = [
        Record(key, picture.file, _target(picture, number, key), picture.size_hw) for key, picture in pictures.items() if picture.chosen
    ]
    return finish(ref, records, classes, faults, on_error, keep_classes)


def _picture(row: tables.Row, root: PictureRoot, chosen: bool, pictures: dict[str, _Picture]) -> _Picture:
    """Return the image to which a row belongs.

    Raises:
        Flaw: the image can't be found or read, or its rows belong to several splits.
    """
    key = row.values["path"]
    if key not in pictures:  # a key already in `pictures` needs no second disk access
        key, file = root.find(key)
    if key not in pictures:
        try:
            pictures[key] = _Picture(file, decoding.size(file), row.place, chosen)
        except ImageError as error:
            raise Flaw(f"{key} {error.reason}", error.kind) from None
    if pictures[key].chosen != chosen:
        raise Flaw(f"{key!r} is in another split at {pictures[key].place}", "leak")
    return pictures[key]


def _box(row: tables.Row, picture: _Picture) -> Box | None:
    """Return the box of a row, or None if the row has no box."""
    given = [row.values[side] for side in _SIDES]
    if not any(given) and not row.values["label"]:
        return None
    try:
        sides = [float(side) for side in given]
    except ValueError:
        numbers = ", ".join(map(repr, given))
        raise Flaw(f"{', '.join(_SIDES)} are {numbers}; expected four numbers, or all empty with an empty label") from None
    box = checked_box(sides, picture.size_hw)
    if not row.values["label"]:
        raise Flaw("the label is empty; expected the class of the box", "unknown-label")
    return box


def _marks(row: tables.Row, box: Box) -> tuple[bool, bool, float]:
    """Return the values of the optional columns iscrowd, difficult and area, or their defaults."""
    crowd, difficult, area = (row.values.get(name, "") for name in _MARKS)
    if crowd not in ("", "0", "1") or difficult not in ("", "0", "1"):
        raise Flaw(f"iscrowd is {crowd!r} and difficult {difficult!r}; expected 0 or 1")
    given = area_of(area)
    left, top, right, bottom = (np.float32(side) for side in box)
    return crowd == "1", difficult == "1", float((right - left) * (bottom - top)) if given is None else given


def _target(picture: _Picture, number: Mapping[str, int], key: str) -> Target:
    values: dict[str, Any] = {"boxes": [box for box, _ in picture.boxes], "labels": [number[label] for _, label in picture.boxes]}
    values |= {name: [mark[place] for mark in picture.marks] for place, name in enumerate(_MARKS)}
    return as_target(values, key)


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() not in tables.SUFFIXES or not tables.has_columns(file, _COLUMNS):
        return None
    return f"it is a table with the columns {', '.join(_COLUMNS)}"


SCHEMES.add("csv", Scheme("csv", open_csv, options=("root",), recognise_file=_recognise))
