"""The `csv:` format: a table with one box per row (path, xmin, ymin, xmax, ymax, label, optionally split) in CSV, TSV or Parquet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from zoo.data import tables
from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.tasks.detection.data.targets import area_of, checked_box, keep_classes, target_of
from zoo.tasks.detection.datasets import SCHEMES

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("path", *_SIDES, "label")
_MARKS = ("iscrowd", "difficult", "area")
_Object = tuple[Box, str, bool, bool, float | None]  # as `Labelled`, with the class name instead of the label


@dataclass
class _Picture:
    """Annotations of one image, collected from its rows."""

    file: Path
    size_hw: tuple[int, int]  # in pixels
    place: str  # place of the image's first row in the table, for messages
    chosen: bool  # whether the image is in the requested split
    objects: list[_Object] = field(default_factory=list)


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a table of boxes, xyxy in pixels of the upright image. A row with only a path stands for an image without objects.

    Paths are relative to the table's folder, or to `root=`. The classes are those of the whole table, sorted, or in the order of a
    `classes.txt` next to the table. Images are in the order of their first rows. The optional columns iscrowd, difficult (0 or 1) and area
    (in square pixels, by default the area of the box) have the same meaning as in COCO and VOC.
    """
    table = ref.file()
    root = PictureRoot(ref.root_folder() or table.parent, ref.links)
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
            picture.objects += _objects(row, picture.size_hw)
        except Flaw as flaw:
            faults.append(row.fault(flaw))
    splits.check()
    classes = in_order(sorted({name for picture in pictures.values() for _, name, *_ in picture.objects}), table.parent)
    label = {name: index for index, name in enumerate(classes)}
    records = []
    for key, picture in pictures.items():
        if picture.chosen:
            target = target_of([(box, label[name], crowd, difficult, area) for box, name, crowd, difficult, area in picture.objects])
            records.append(Record(key, picture.file, target, picture.size_hw))
    return finish(ref, records, classes, faults, on_error, keep_classes)


def _picture(row: tables.Row, root: PictureRoot, chosen: bool, pictures: dict[str, _Picture]) -> _Picture:
    """Return the image to which a row belongs; raise a `Flaw` if it can't be found or read, or if its rows belong to several splits."""
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


def _objects(row: tables.Row, size_hw: tuple[int, int]) -> list[_Object]:
    """Return the object of a row, or nothing if the row has no box."""
    given, name = [row.values[side] for side in _SIDES], row.values["label"]
    if not any(given) and not name:
        return []
    try:
        sides = [float(side) for side in given]
    except ValueError:
        numbers = ", ".join(map(repr, given))
        raise Flaw(f"{', '.join(_SIDES)} are {numbers}; expected four numbers, or all empty with an empty label") from None
    box = checked_box(sides, size_hw)
    if not name:
        raise Flaw("the label is empty; expected the class of the box", "unknown-label")
    crowd, difficult, area = (row.values.get(mark, "") for mark in _MARKS)
    if crowd not in ("", "0", "1") or difficult not in ("", "0", "1"):
        raise Flaw(f"iscrowd is {crowd!r} and difficult {difficult!r}; expected 0 or 1")
    return [(box, name, crowd == "1", difficult == "1", area_of(area))]


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() not in tables.SUFFIXES or not tables.has_columns(file, _COLUMNS):
        return None
    return f"it is a table with the columns {', '.join(_COLUMNS)}"


SCHEMES.add("csv", Scheme("csv", open_csv, options=("root",), recognise_file=_recognise))
