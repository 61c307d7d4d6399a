"""`csv:` – a table with one box per row: path, xmin, ymin, xmax, ymax, label and perhaps split, as CSV, TSV or Parquet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from zoo import images, tabular
from zoo.data import Dataset, OnError, Record
from zoo.data_ref import DataRef
from zoo.errors import Fault, ImageError
from zoo.picture_root import PictureRoot
from zoo.schemes import Scheme, finish
from zoo.tasks.detection.datasets import SCHEMES
from zoo.tasks.detection.targets import as_target, checked_box, keep_classes

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("path", *_SIDES, "label")

_Box = tuple[float, float, float, float]


@dataclass
class _Picture:
    """What the rows of one picture say.

    Attributes:
        file: the picture.
        size_hw: its height and width in pixels.
        place: the first row that names it.
        chosen: whether it is of the split that was asked for.
        boxes: xyxy in pixels, with their class names.
    """

    file: Path
    size_hw: tuple[int, int]
    place: str
    chosen: bool
    boxes: list[tuple[_Box, str]] = field(default_factory=list)


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Read a table of boxes, xyxy in pixels of the upright picture; a row with a path alone is a picture without objects.

    Paths are relative to the table's folder, or to `root=`. Classes are those of the whole table, sorted. Pictures stand in the order
    in which they first appear.

    Raises:
        DataError: the table can't be read, or faults: a path that is missing or leaves the folder, a wrong box, an empty label.
        InputError: a split that isn't there, or splits without `split=`.
    """
    table = ref.file()
    root = PictureRoot(ref.root_folder() or table.parent)
    splits = tabular.SplitFilter(ref)
    faults: list[Fault] = []
    pictures: dict[str, _Picture] = {}
    for row in tabular.rows(table, _COLUMNS, ("split",), faults):
        try:
            picture = _picture(row, root, splits.keeps(row), pictures)
        except ValueError as error:
            faults.append(Fault(row.place, str(error), whole=True))
            continue
        box = _box(row, picture)
        if isinstance(box, str):
            faults.append(Fault(row.place, box))
        elif box is not None:
            picture.boxes.append((box, row.values["label"]))
    splits.check()
    classes = sorted({label for picture in pictures.values() for _, label in picture.boxes})
    number = {name: index for index, name in enumerate(classes)}
    records = [
        Record(
            key,
            picture.file,
            as_target({"boxes": [box for box, _ in picture.boxes], "labels": [number[label] for _, label in picture.boxes]}, key),
        )
        for key, picture in pictures.items()
        if picture.chosen
    ]
    return finish(ref, records, classes, faults, on_error, keep_classes)


def _picture(row: tabular.Row, root: PictureRoot, chosen: bool, pictures: dict[str, _Picture]) -> _Picture:
    """Return the picture that a row is about.

    Raises:
        ValueError: it can't be found or read, or its rows stand in several splits.
    """
    key = row.values["path"]
    if key not in pictures:  # its plain form needs no second look at the disk
        key, file = root.find(key)
    if key not in pictures:
        try:
            pictures[key] = _Picture(file, images.size(file), row.place, chosen)
        except ImageError as error:
            raise ValueError(f"{key} {error.reason}") from None
    if pictures[key].chosen != chosen:
        raise ValueError(f"{key!r} is in another split at {pictures[key].place}")
    return pictures[key]


def _box(row: tabular.Row, picture: _Picture) -> _Box | str | None:
    """Return a row's box, what is wrong with it, or None where it has none."""
    given = [row.values[side] for side in _SIDES]
    if not any(given) and not row.values["label"]:
        return None
    try:
        box = checked_box(given, picture.size_hw)
    except ValueError:
        return f"{', '.join(_SIDES)} are {', '.join(map(repr, given))}; expected four numbers, or none and no label"
    if not row.values["label"]:
        return "the label is empty; expected the class of the box"
    return box


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() not in tabular.SUFFIXES or not tabular.has_columns(file, _COLUMNS):
        return None
    return f"it is a table with the columns {', '.join(_COLUMNS)}"


SCHEMES.add("csv", Scheme("csv", open_csv, options=("root",), recognise_file=_recognise))
