"""Boxes in tables: corners, a corner or the centre with width and height, or a list in one cell; in pixels or as fractions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoo.data.columns import SIDES, Found, find_boxes, find_columns, misspelt
from zoo.data.tables import Row
from zoo.errors import Box, Flaw

MARKS = ("iscrowd", "difficult", "area")
ONE_CLASS = "object"  # class of boxes in a table without labels
_CELLS = {"corners": SIDES, "size": ("x", "y", "w", "h"), "center": ("cx", "cy", "w", "h"), "list": ("bbox",)}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
Stated = tuple[float, float, float, float]  # numbers of a box as in the table


def find(header: Sequence[str]) -> Found:
    """Find the columns of a table of boxes. Without a label, it is the only other column, or all boxes are of one class.

    The remaining columns, `extra`, are attributes of the boxes.
    """
    found = find_columns(header, ("path", "label"), ("split", *MARKS))
    boxes = find_boxes(found.header)
    if boxes is None:
        found.missing = [name for name in ("path", *SIDES, "label") if name not in (*found.names, *found.header)]
        return found
    form, names = boxes
    found.names |= dict(zip(_CELLS[form], names, strict=True))
    free = [name for name in found.header if name not in names]
    sizes = find_columns(free, (), ("width", "height")).names
    found.names |= sizes if len(sizes) == 2 else {}
    if found.missing == ["label"] and not found.notes:
        found.missing = [] if len(found.others) < 2 else ["label"]
        if len(found.others) == 1:
            found.names["label"] = found.others[0]
        elif not found.others:
            found.notes.append(f"it has no labels; all boxes are of the class {ONE_CLASS!r}")
    wrong = {name for name, _ in misspelt(found, ("split", *MARKS))}
    found.extra = [name for name in found.others if name not in wrong]
    return found


def form_of(found: Found) -> str:
    """Return the form of a table's boxes."""
    return next(form for form, names in _CELLS.items() if all(name in found.names for name in names))


def numbers(row: Row, form: str) -> list[Stated]:
    """Return the boxes of a row as they are written, with four numbers each; none if the cells are empty.

    Raises:
        Flaw: the cells don't contain numbers.
    """
    cells = [row.values[name] for name in _CELLS[form]]
    if form == "list":
        return _listed(cells[0])
    if not any(cells):
        return []
    try:
        first, second, third, fourth = map(float, cells)
    except ValueError:
        shown = ", ".join(map(repr, cells))
        raise Flaw(f"{', '.join(_CELLS[form])} are {shown}; expected four numbers, or all empty with an empty label") from None
    return [(first, second, third, fourth)]


def _listed(cell: str) -> list[Stated]:
    """Return the boxes of a cell such as "[1, 2, 3, 4]", "1 2 3 4" or "[[1, 2, 3, 4], [5, 6, 7, 8]]"."""
    rest = _NUMBER.sub("", cell)
    values = [float(text) for text in _NUMBER.findall(cell)]
    nested = rest.count("[") + rest.count("(") > 1 or ";" in rest
    if re.fullmatch(r"[\[\](){},;\s]*", rest) is None or len(values) % 4 or (len(values) > 4 and not nested):
        raise Flaw(f"bbox is {cell[:60]!r}; expected four numbers, such as [10, 20, 30, 40], or a list of such boxes")
    return [(values[i], values[i + 1], values[i + 2], values[i + 3]) for i in range(0, len(values), 4)]


@dataclass(frozen=True)
class BoxForm:
    """Form of the numbers in a table's boxes."""

    form: str  # of the columns, as in `_CELLS`
    sizes: bool  # whether the last two numbers are width and height
    fractions: bool  # whether numbers are fractions of the image's width and height

    @classmethod
    def of(cls, form: str, boxes: Iterable[tuple[Stated, tuple[float, float]]]) -> BoxForm:
        """Determine the form from all boxes of a table, each with the height and width of its image in pixels."""
        found = list(boxes)
        fractions = bool(found) and all(0 <= value <= 1 for box, _ in found for value in box)
        fractions &= any(not value.is_integer() for box, _ in found for value in box)
        limits = ((box, (1.0, 1.0) if fractions else size_hw) for box, size_hw in found)
        if form != "list":
            return cls(form, form != "corners", fractions)
        fits = [(_inside(box, (box[0] + box[2], box[1] + box[3]), hw), _inside(box, box[2:], hw)) for box, hw in limits]
        return cls(form, all(size for size, _ in fits) or not all(corners for _, corners in fits), fractions)

    def corners(self, box: Stated, size_hw: tuple[float, float]) -> Box:
        """Return a box, xyxy in pixels of an image of this height and width."""
        left, top, right, bottom = box
        if self.form == "center":
            left, top = left - right / 2, top - bottom / 2
        if self.sizes:
            right, bottom = left + right, top + bottom
        if self.fractions:
            height, width = size_hw
            left, top, right, bottom = left * width, top * height, right * width, bottom * height
        return left, top, right, bottom

    @property
    def notes(self) -> list[str]:
        """What was assumed."""
        last = "width, height" if self.sizes else "right, bottom"
        notes = [f"boxes are read as left, top, {last}"] if self.form in ("list", "size") else []
        return notes + (["boxes are fractions of the image's size"] if self.fractions else [])


def _inside(box: Stated, end: Sequence[float], size_hw: tuple[float, float]) -> bool:
    """Return whether a box, given by its first corner and its end, has an area and exceeds an image by less than one pixel."""
    right, bottom = end
    height, width = size_hw
    return all(map(math.isfinite, box)) and -1 < box[0] < right < width + 1 and -1 < box[1] < bottom < height + 1
