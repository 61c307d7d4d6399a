"""Parsing of COCO's annotation files: the lists of images, categories and annotations.

The lists are read without outlines, which make up most of a file; these are read only when masks are needed, or boxes are missing. Each
annotation is packed into a row of bytes as soon as it is parsed. Half a million annotations occupy 50 MiB as rows, but 350 MiB as
dictionaries. An unusual annotation (a value that is not a number, a missing id or box, an extreme value) stays a dictionary, so that the
reader can report it. The row of an annotation with attributes is paired with these.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import DataError
from zoo.system.memory import no_collector

_HUGE = 1e12  # larger than any valid coordinate or area; comparisons with it are also False for NaN
_PARTS = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}
_ROW = struct.Struct("<3q5d?")  # id, image_id, category_id; x, y, width, height, area; iscrowd
Packed = bytes | tuple[bytes, Mapping[str, Any]]  # a row, or a row and the attributes


def read_lists(data: str, file: Path) -> dict[str, list[Any]]:
    """Read the lists of images, annotations and categories, and check the required keys of each entry.

    Entries are dictionaries; annotations may also be rows of bytes, alone or with attributes, which `annotation_of` unpacks. `data` is the
    dataset string, for messages.

    Raises:
        DataError: the file can't be read as JSON, a list is missing, or an entry lacks a key.
    """
    with no_collector():
        try:
            content = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_packed)
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"data {data!r}: {file} can't be read as JSON ({error})") from error
    for part in _PARTS:
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"data {data!r}: {file} has no list {part!r}; expected COCO's images, annotations and categories")
        for number, entry in enumerate(entries):
            if not (isinstance(entry, bytes | tuple) and part == "annotations") and (wrong := _wrong(part, entry)):
                raise DataError(f"data {data!r}: {file}: {part}[{number}]{wrong}")
    return content  # type: ignore[no-any-return]  # just checked


def annotation_of(entry: Packed | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an annotation as in COCO's files: id, image_id, category_id, bbox (x, y, width, height), area, iscrowd and attributes."""
    if isinstance(entry, Mapping):
        return entry
    row, attributes = entry if isinstance(entry, tuple) else (entry, {})
    identity, image, category, *box, area, crowd = _ROW.unpack(row)
    values = {"id": identity, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
    return values | ({"attributes": attributes} if attributes else {})


def is_number(value: Any) -> bool:
    """Return whether a value is a number in the range of coordinates and areas. Booleans don't count as numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def are_four_numbers(values: Any) -> bool:
    """Return whether a value is a list of four numbers in the range of coordinates."""
    if not isinstance(values, list) or len(values) != 4 or not {int, float}.issuperset(map(type, values)):
        return False
    x, y, width, height = values
    return bool(-_HUGE < x < _HUGE and -_HUGE < y < _HUGE and -_HUGE < width < _HUGE and -_HUGE < height < _HUGE)


def _packed(entry: dict[str, Any]) -> dict[str, Any] | Packed:
    """Pack an annotation into a row; return other objects as dictionaries. Outlines are dropped from both, unless there is no box."""
    if entry.get("bbox"):
        entry.pop("segmentation", None)
    # images and categories may have additional keys, but are not annotations
    if "bbox" not in entry or "file_name" in entry or "name" in entry or entry.get("difficult"):
        return entry
    box, crowd = entry["bbox"], entry.get("iscrowd", 0)
    ids = entry.get("id"), entry.get("image_id"), entry.get("category_id")
    if not are_four_numbers(box) or not {int}.issuperset(map(type, ids)) or crowd not in (0, 1):
        return entry
    area = entry.get("area", box[2] * box[3])
    if not is_number(area) or area < 0:
        return entry
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        return entry
    try:
        row = _ROW.pack(*ids, *box, area, bool(crowd))
        return (row, attributes) if attributes else row
    except struct.error:  # an id doesn't fit into 64 bits
        return entry


def _wrong(part: str, entry: Any) -> str:
    """Return the end of an error message about an entry of a list, or "" if the entry is valid."""
    needed = _PARTS[part]
    missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
    if part == "annotations" and not missing and "bbox" not in entry and "segmentation" not in entry:
        missing = ["bbox", "segmentation"]
    if missing:
        return f" has no {' and no '.join(missing)}"
    for key in needed:
        identity = entry[key]
        if key.endswith("id") and not isinstance(identity, (int, str)) and not (isinstance(identity, float) and identity.is_integer()):
            return f": {key} is {identity!r}; expected a whole number"
    return ""
