"""The `csv:` format: a table with one box per row (path, xmin, ymin, xmax, ymax, label, optionally split) in CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zoo.data import tables
from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.images.header import Header
from zoo.tasks.detection.data.frames import Annotated, Frames, Size, find_frames
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
    header: Header
    place: str  # place of the image's first row in the table, for messages
    chosen: bool  # whether the image is in the requested split
    objects: list[tuple[str, Size | None, _Object]] = field(default_factory=list)  # line, stated size, and object of each row

    @property
    def stated_hw(self) -> Size | None:
        """Size that the rows state; None if they state none, or different ones, which are sizes of boxes then."""
        sizes = {stated for _, stated, _ in self.objects}
        return sizes.pop() if len(sizes) == 1 else None


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a table of boxes, xyxy in pixels. A row with only a path stands for an image without objects.

    Paths are relative to the table's folder, or to `root=`. The classes are those of the whole table, sorted, or in the order of a
    `classes.txt` next to the table. Images are in the order of their first rows. The optional columns iscrowd, difficult (0 or 1) and area
    (in square pixels, by default the area of the box) have the same meaning as in COCO and VOC. Boxes are in the frame of the upright
    image; the columns width and height, and `frame=`, are as in `find_frames`.
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
            picture.objects += [(row.line, _stated(row), each) for each in _objects(row)]
        except Flaw as flaw:
            faults.append(row.fault(flaw))
    splits.check()
    sized = not all(_states_box(picture) for picture in pictures.values())
    images = {key: Annotated(key, each.file, each.stated_hw if sized else None, each.header) for key, each in pictures.items()}
    frames = find_frames(ref, list(images.values()), partial(_boxes_of, pictures))
    objects = {key: list(_checked(images[key], picture, frames, table, faults)) for key, picture in pictures.items()}
    classes = in_order(sorted({name for found in objects.values() for _, name, *_ in found}), table.parent)
    label = {name: index for index, name in enumerate(classes)}
    records = []
    for key, picture in pictures.items():
        if picture.chosen and key not in frames.flaws:
            target = target_of([(box, label[name], crowd, difficult, area) for box, name, crowd, difficult, area in objects[key]])
            records.append(Record(key, picture.file, target, frames.size_hw(images[key])))
    return finish(ref, records, classes, faults, on_error, keep_classes, frames.notes)


def _boxes_of(pictures: Mapping[str, _Picture], keys: Collection[str]) -> Iterator[tuple[str, Box]]:
    yield from ((key, box) for key in keys for _, _, (box, *_) in pictures[key].objects)


def _states_box(picture: _Picture) -> bool:
    """Return whether the columns width and height are those of the boxes."""
    boxes = [(stated, box) for _, stated, (box, *_) in picture.objects if stated is not None]
    return all(abs(box[2] - box[0] - width) <= 1 and abs(box[3] - box[1] - height) <= 1 for (height, width), box in boxes)


def _checked(image: Annotated, picture: _Picture, frames: Frames, table: Path, faults: list[Fault]) -> Iterator[_Object]:
    """Yield the valid objects of an image, in the upright frame, and add invalid ones to `faults`."""
    if image.key in frames.flaws:
        faults.append(frames.flaws[image.key].at(picture.place, before=f"{image.key}: ", whole=True))
        return
    frame = frames.of(image)
    for line, _, (box, *rest) in picture.objects:
        try:
            yield frame.upright(checked_box(box, frame.size_hw)), *rest
        except Flaw as flaw:
            faults.append(tables.Row(table, line, {}).fault(flaw))


def _picture(row: tables.Row, root: PictureRoot, chosen: bool, pictures: dict[str, _Picture]) -> _Picture:
    """Return the image to which a row belongs; raise a `Flaw` if it can't be found or read, or if its rows belong to several splits."""
    key = row.values["path"]
    if key not in pictures:  # a key already in `pictures` needs no second disk access
        key, file = root.find(key)
    if key not in pictures:
        try:
            pictures[key] = _Picture(file, decoding.header(file), row.place, chosen)
        except ImageError as error:
            raise Flaw(f"{key} {error.reason}", error.kind) from None
    if pictures[key].chosen != chosen:
        raise Flaw(f"{key!r} is in another split at {pictures[key].place}", "leak")
    return pictures[key]


def _stated(row: tables.Row) -> Size | None:
    """Return the height and width that a row states."""
    height, width = row.values.get("height", ""), row.values.get("width", "")
    try:
        return (int(float(height)), int(float(width))) if float(height) > 0 and float(width) > 0 else None
    except (ValueError, OverflowError):
        return None


def _objects(row: tables.Row) -> list[_Object]:
    """Return the object of a row, whose box isn't checked, or nothing if the row has no box."""
    given, name = [row.values[side] for side in _SIDES], row.values["label"]
    if not any(given) and not name:
        return []
    try:
        left, top, right, bottom = map(float, given)
    except ValueError:
        numbers = ", ".join(map(repr, given))
        raise Flaw(f"{', '.join(_SIDES)} are {numbers}; expected four numbers, or all empty with an empty label") from None
    if not name:
        raise Flaw("the label is empty; expected the class of the box", "unknown-label")
    crowd, difficult, area = (row.values.get(mark, "") for mark in _MARKS)
    if crowd not in ("", "0", "1") or difficult not in ("", "0", "1"):
        raise Flaw(f"iscrowd is {crowd!r} and difficult {difficult!r}; expected 0 or 1")
    return [((left, top, right, bottom), name, crowd == "1", difficult == "1", area_of(area))]


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() not in tables.SUFFIXES or not tables.has_columns(file, _COLUMNS):
        return None
    return f"it is a table with the columns {', '.join(_COLUMNS)}"


SCHEMES.add("csv", Scheme("csv", open_csv, options=("root", "frame"), recognise_file=_recognise))
