"""Write the `csv:` format: annotations.csv with one box per row, next to the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.data.classes import write_order
from zoo.data.tables import as_csv
from zoo.data.writers import Content, Writer, table_losses
from zoo.system.files import write_text
from zoo.tasks.detection.data.targets import as_target
from zoo.tasks.detection.writers import WRITERS
from zoo.tasks.detection.writers.losses import own_area

FILE = "annotations.csv"
_COLUMNS = ("path", "xmin", "ymin", "xmax", "ymax", "label")
_MARKS = ("iscrowd", "difficult", "area")


def write_csv(content: Content, out: Path) -> None:
    """Write the table and the images. The columns iscrowd, difficult and area are included only if a box needs them."""
    marks = [mark for mark in _MARKS if any(_has(mark, as_target(picture.record.target, picture.name)) for picture in content.pictures)]
    rows: list[list[str]] = []
    used: set[str] = set()
    for picture in content.pictures:
        content.put(picture, out / picture.name)
        for split in picture.splits or ("",):
            for row in _rows(as_target(picture.record.target, picture.name), content.classes, marks):
                used.update(row[4:5])
                rows.append([picture.name, *row[:5], *([split] if content.splits else []), *row[5:]])
    write_text(out / FILE, as_csv([*_COLUMNS, *(["split"] if content.splits else []), *marks], rows))
    write_order(content.classes, sorted(used - {""}), out)


def _has(mark: str, target: Any) -> bool:
    return not own_area(target) if mark == "area" else bool(target[mark].any())


def _rows(target: Any, classes: tuple[str, ...], marks: list[str]) -> Iterator[list[str]]:
    """Yield one table row per box: corners, label and the columns named in `marks`. An image without boxes yields one empty row."""
    if not len(target["boxes"]):
        yield [""] * (5 + len(marks))
    for place, box in enumerate(target["boxes"].tolist()):
        values = [repr(float(target[mark][place])) if mark == "area" else str(int(target[mark][place])) for mark in marks]
        yield [*map(repr, box), classes[target["labels"][place]], *values]


WRITERS.add("csv", Writer(write_csv, table_losses, path=FILE))
