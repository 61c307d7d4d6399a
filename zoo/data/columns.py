"""Names under which the columns of annotation tables are found, and tables without a header."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from zoo.data.names import nfc
from zoo.images import decoding

# other names of columns, the most specific first; equal are names that differ only in case, spaces, "_", "-" and "."
_FILES = (
    "filename",
    "filepath",
    "imagepath",
    "imgpath",
    "imagefile",
    "imagename",
    "imgname",
    "fname",
    "file",
    "image",
    "img",
    "imageid",
    "imgid",
    "id",
)
OTHER_NAMES: Mapping[str, Sequence[str]] = {
    "path": _FILES,
    "key": ("path", *_FILES),
    "label": ("classname", "labelname", "categoryname", "class", "category", "target", "tag", "classid", "labelid", "categoryid"),
    "width": ("imagewidth", "imgwidth", "imgw"),
    "height": ("imageheight", "imgheight", "imgh"),
}  # fmt: skip
_UNSURE = "label"  # of its other names, only one may occur
_LOOSE = {*OTHER_NAMES, "split", "group", "iscrowd", "difficult", "area"}  # found in other spellings; names of classes aren't
SIDES = ("xmin", "ymin", "xmax", "ymax")
# forms of boxes: name of the form, and the names of its columns
BOXES: Sequence[tuple[str, Sequence[str]]] = (
    *(("corners", names) for names in (
        SIDES, ("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"), ("left", "top", "right", "bottom"),
        ("bboxx1", "bboxy1", "bboxx2", "bboxy2"), ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    )),
    *(("center", (*corner, *size)) for corner in (("xcenter", "ycenter"), ("centerx", "centery"), ("cx", "cy"))
      for size in (("width", "height"), ("w", "h"))),
    *(("size", (*corner, *size)) for corner in (("x", "y"), ("left", "top"), ("xmin", "ymin"), ("bboxx", "bboxy"), ("bboxleft", "bboxtop"))
      for size in (("width", "height"), ("w", "h"), ("bboxwidth", "bboxheight"), ("bboxw", "bboxh"))),
    *(("list", (name,)) for name in ("bbox", "bboxes", "box", "boxes")),
)  # fmt: skip


def plain(name: str) -> str:
    """Return the name of a column without case, spaces, "_", "-" and "."."""
    return re.sub(r"[\s_.\-]+", "", name.casefold())


@dataclass
class Found:
    """Columns of a table.

    Attributes:
        names: names in the file by the names that readers use.
        missing: required columns that the table lacks.
        notes: what was assumed.
        header: the names in the file.
        headless: whether the table has no header; the first row is then a row of data.
        extra: further columns that the reader uses under their own names.
    """

    names: dict[str, str]
    missing: Sequence[str]
    header: list[str]
    notes: list[str] = field(default_factory=list)
    headless: bool = False
    extra: Sequence[str] = ()

    @property
    def others(self) -> list[str]:
        """Columns that weren't found under a name, without those of row numbers."""
        used = set(self.names.values())
        return [name for name in self.header if name not in used and not re.match(r"column \d+$|unnamed: \d+$|index$", name, re.IGNORECASE)]


Finder = Callable[[Sequence[str]], Found]


def find_columns(header: Sequence[str], required: Sequence[str], optional: Sequence[str] = ()) -> Found:
    """Find the columns of a table by name, by names that differ in spelling, and by `OTHER_NAMES`."""
    whole = [nfc(name) or f"column {place}" for place, name in enumerate(_trimmed(header), 1)]
    by_plain: dict[str, list[str]] = {}
    for name in whole:
        by_plain.setdefault(plain(name), []).append(name)
    found = Found({}, (), whole)
    for name in (*required, *optional):
        spelt = [name] if name in whole else by_plain.get(plain(name), []) if name in _LOOSE else []
        others = [each for other in OTHER_NAMES.get(name, ()) for each in by_plain.get(other, ())]
        others = [each for each in others if each not in required]
        if spelt:
            found.names[name] = spelt[0]
        elif len(others) > 1 and name == _UNSURE and not _one_of_a_kind(others):
            found.notes.append(f"several columns could be {name}: {', '.join(others)}; rename the right one to {name}")
        elif others:
            found.names[name] = others[0]
    found.missing = [name for name in required if name not in found.names]
    return found


def _one_of_a_kind(names: Sequence[str]) -> bool:
    """Return whether the first of several columns names the class, and the others contain its number."""
    return not plain(names[0]).endswith("id") and all(plain(name).endswith("id") for name in names[1:])


def _trimmed(header: Sequence[str]) -> Sequence[str]:
    """Return a header without the empty cells at its end, which spreadsheets write."""
    return header[: max((place for place, name in enumerate(header, 1) if name), default=0)]


def find_boxes(header: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the form of a table's boxes, one of those in `BOXES`, and the names of their columns; None if it has no boxes."""
    by_plain = {plain(name): name for name in reversed(list(header))}
    for form, names in BOXES:
        if all(name in by_plain for name in names):
            return form, tuple(by_plain[name] for name in names)
    return None


def headless(row: Sequence[str]) -> list[str] | None:
    """Return the names of the columns of a table whose first row is data, not a header; None if the row isn't recognised.

    Such tables are those of keras-retinanet (path, box, class; also followed by the size of the image) and lists of images with a class.
    """
    numbers = [_is_number(value) for value in row]
    if len(row) in (6, 8) and row[0] and (all(numbers[1:5]) or not any(row[1:])) and all(numbers[6:] or [True]):
        return ["path", *SIDES, "label", *(["width", "height"] if len(row) == 8 else [])]
    if len(row) == 2 and row[0].lower().endswith(decoding.SUFFIXES) and row[1]:
        return ["path", "label"]
    return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+([.,]\d+)?", text) is not None


def renamed(found: Found) -> str:
    """Return a note about columns that were found under another name; "" if there are none."""
    other = [f"{name!r} as {wanted}" for wanted, name in found.names.items() if name.casefold() != wanted.casefold()]
    return f"columns are read by other names: {', '.join(other)}" if other else ""


def misspelt(found: Found, optional: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of a column that is probably misspelt and the optional column that it probably stands for."""
    absent = [name for name in optional if name not in found.names]
    near = ((name, difflib.get_close_matches(name.strip().lower(), absent, n=1, cutoff=0.7)) for name in found.others)
    return [(name, close[0]) for name, close in near if close]
