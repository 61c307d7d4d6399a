"""The `csv:` format: a table with one box per row (path, xmin, ymin, xmax, ymax, label, optionally split) in CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zoo.data import tables
from zoo.data.classes import in_order, whole_numbers
from zoo.data.columns import SIDES, find_boxes
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.pictures import PictureFinder
from zoo.data.table_folder import locate, recognise_tables
from zoo.errors import Box, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.images.header import Header
from zoo.tasks.detection.data.box_table import MARKS, ONE_CLASS, BoxForm, Stated, find, form_of, numbers
from zoo.tasks.detection.data.frames import Annotated, Frames, Size, find_frames, stated_size
from zoo.tasks.detection.data.targets import area_of, checked_box, keep_classes, target_of
from zoo.tasks.detection.datasets import SCHEMES

_COLUMNS = ("path", *SIDES, "label")
_Attributes = Mapping[str, str]
# as `Labelled`, with the box as stated and the class name instead of the label
_Object = tuple[Stated, str, bool, bool, float | None, _Attributes]
_Checked = tuple[Box, str, bool, bool, float | None, _Attributes]  # with the box in pixels of the upright image


@dataclass
class _Picture:
    """Annotations of one image, collected from its rows."""

    key: str
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
    image; the columns width and height, and `frame=`, are as in `find_frames`. All further columns are attributes of the boxes. Other forms
    of boxes are read as in `box_table`, and tables without a header as in `headless`. `encoding=` is the encoding of a table that isn't
    UTF-8.
    """
    path, ref = locate(ref, find)
    table = tables.Table.open(
        path, find, expected=(*_COLUMNS, "split", *MARKS), optional=("split", *MARKS), encoding=ref.options.get("encoding")
    )
    finder = PictureFinder.of(ref, path)
    splits = tables.SplitFilter(ref)
    faults: list[Fault] = []
    pictures: dict[str, _Picture] = {}
    named: dict[str, _Picture] = {}  # by path in the table
    columns = form_of(table.found)
    for row in table.rows(faults, (*SIDES, "x", "y", "w", "h", "cx", "cy", "area")):
        try:
            picture = _picture(row, finder, splits.keeps(row), pictures, named)
        except Flaw as flaw:
            faults.append(row.fault(flaw, whole=True))
            continue
        stated = stated_size(row.values.get("height"), row.values.get("width"))
        try:
            picture.objects += [(row.line, stated, each) for each in _objects(row, columns, table.found.extra)]
        except Flaw as flaw:
            faults.append(row.fault(flaw))
    splits.check()
    form = BoxForm.of(columns, ((box, each.header.size_hw) for each in pictures.values() for _, _, (box, *_) in each.objects))
    sized = columns != "corners" or not all(_states_box(picture) for picture in pictures.values())
    images = {key: Annotated(key, each.file, each.stated_hw if sized else None, each.header) for key, each in pictures.items()}
    frames = find_frames(ref, list(images.values()), partial(_boxes_of, pictures, form))
    objects = {key: list(_checked(images[key], picture, frames, form, table.path, faults)) for key, picture in pictures.items()}
    found = {name for these in objects.values() for _, name, *_ in these}
    names = whole_numbers(found)
    classes = in_order(sorted({names.get(name, name) for name in found}), table.path.parent)
    label = {name: index for index, name in enumerate(classes)}
    records = []
    for key, picture in pictures.items():
        if picture.chosen and key not in frames.flaws:
            these = [(each[0], label[names.get(each[1], each[1])], *each[2:]) for each in objects[key]]
            records.append(Record(key, picture.file, target_of(these), frames.size_hw(images[key])))
    notes = [*table.notes, *form.notes, *(["labels such as 1.0 are read as 1"] if names else []), *finder.notes, *frames.notes]
    return finish(ref, records, classes, faults, on_error, keep_classes, notes)


def _boxes_of(pictures: Mapping[str, _Picture], form: BoxForm, keys: Collection[str]) -> Iterator[tuple[str, Box]]:
    if not form.fractions:  # fractions fit every frame
        yield from ((key, form.corners(box, (1.0, 1.0))) for key in keys for _, _, (box, *_) in pictures[key].objects)


def _states_box(picture: _Picture) -> bool:
    """Return whether the columns width and height are those of the boxes."""
    boxes = [(stated, box) for _, stated, (box, *_) in picture.objects if stated is not None]
    return all(abs(box[2] - box[0] - width) <= 1 and abs(box[3] - box[1] - height) <= 1 for (height, width), box in boxes)


def _checked(image: Annotated, picture: _Picture, frames: Frames, form: BoxForm, table: Path, faults: list[Fault]) -> Iterator[_Checked]:
    """Yield the valid objects of an image, in the upright frame, and add invalid ones to `faults`."""
    if image.key in frames.flaws:
        faults.append(frames.flaws[image.key].at(picture.place, before=f"{image.key}: ", whole=True))
        return
    frame = frames.of(image)
    for line, _, each in picture.objects:
        try:
            yield frame.upright(checked_box(form.corners(each[0], frame.size_hw), frame.size_hw)), *each[1:]
        except Flaw as flaw:
            faults.append(tables.Row(table, line, {}).fault(flaw))


def _picture(row: tables.Row, finder: PictureFinder, chosen: bool, pictures: dict[str, _Picture], named: dict[str, _Picture]) -> _Picture:
    """Return the image to which a row belongs; raise a `Flaw` if it can't be found or read, or if its rows belong to several splits."""
    text = row.values["path"]
    if text not in named:  # further rows of an image need no disk access
        key, file = finder.find(text)
        if key not in pictures:
            try:
                pictures[key] = _Picture(key, file, decoding.header(file), row.place, chosen)
            except ImageError as error:
                raise Flaw(f"{key} {error.reason}", error.kind) from None
        named[text] = pictures[key]
    picture = named[text]
    if picture.chosen != chosen:
        raise Flaw(f"{picture.key!r} is in another split at {picture.place}", "leak")
    return picture


def _objects(row: tables.Row, form: str, extra: Sequence[str]) -> list[_Object]:
    """Return the objects of a row, whose boxes aren't checked, or nothing if the row has no box."""
    boxes, name = numbers(row, form), row.values.get("label", ONE_CLASS)
    if not boxes and (not name or form == "list" or "label" not in row.values):
        return []
    if not boxes:
        raise Flaw(f"{', '.join(SIDES)} are '', '', '', ''; expected four numbers, or all empty with an empty label")
    if not name:
        raise Flaw("the label is empty; expected the class of the box", "unknown-label")
    crowd, difficult, area = (row.values.get(mark, "") for mark in MARKS)
    if crowd not in ("", "0", "1") or difficult not in ("", "0", "1"):
        raise Flaw(f"iscrowd is {crowd!r} and difficult {difficult!r}; expected 0 or 1")
    attributes = {column: row.values[column] for column in extra}
    return [(box, name, crowd == "1", difficult == "1", area_of(area), attributes) for box in boxes]


def _recognise(file: Path) -> str | None:
    found = tables.matches(file, find)
    if found is None or (boxes := find_boxes(found.header)) is None:
        return None
    return f"it is a table with the columns {', '.join((found.names['path'], *boxes[1], *filter(None, [found.names.get('label')])))}"


def _recognise_folder(folder: Path) -> str | None:
    return recognise_tables(folder, find)


SCHEMES.add("csv", Scheme("csv", open_csv, _recognise_folder, options=("root", "frame", "encoding"), recognise_file=_recognise))
