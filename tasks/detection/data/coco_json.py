"""Memory-efficient reading of COCO's JSON: the three relevant lists, without outlines, with annotations as rows of bytes.

Half a million annotations take 350 MiB as dictionaries and 50 MiB as rows. Each is packed as soon as it is parsed; an unusual annotation
(a value that is not a number, a missing id, an extreme value) stays a dictionary, so that the reader can report it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import DataError
from zoo.system.memory import no_collector

_HUGE = 1e12  # above any coordinate or area; NaN fails the comparison, too
_PARTS = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id", "bbox"), "categories": ("id", "name")}
_ROW = struct.Struct("<3q5d?")  # id, image_id, category_id; x, y, width, height, area; iscrowd


def read_lists(data: str, file: Path) -> dict[str, list[Any]]:
    """Return images, annotations and categories by name, with the required keys of each entry checked.

    Entries are dictionaries; annotations may also be rows (see `annotation_of`). `data` is the dataset string, for messages.
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
            if not (isinstance(entry, bytes) and part == "annotations") and (wrong := _wrong(part, entry)):
                raise DataError(f"data {data!r}: {file}: {part}[{number}]{wrong}")
    return content  # type: ignore[no-any-return]  # just checked


def annotation_of(entry: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an annotation in COCO's form: id, image_id, category_id, bbox (x, y, width, height), area and iscrowd."""
    if not isinstance(entry, bytes):
        return entry
    identity, image, category, x, y, width, height, area, crowd = _ROW.unpack(entry)
    box = [x, y, width, height]
    return {"id": identity, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}


def is_number(value: Any) -> bool:
    """Return whether a value is a number that can be a coordinate or an area; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def are_four_numbers(values: Any) -> bool:
    """Return whether a value is a list of four numbers that can be coordinates."""
    if not isinstance(values, list) or len(values) != 4 or not {int, float}.issuperset(map(type, values)):
        return False
    x, y, width, height = values
    return bool(-_HUGE < x < _HUGE and -_HUGE < y < _HUGE and -_HUGE < width < _HUGE and -_HUGE < height < _HUGE)


def _packed(entry: dict[str, Any]) -> dict[str, Any] | bytes:
    """Return an annotation as a row, and other objects without their outline, which is most of a file and many times larger in memory."""
    entry.pop("segmentation", None)
    if (
        "bbox" not in entry or "file_name" in entry or "name" in entry or entry.get("difficult")
    ):  # an image or category with an extra key is not an annotation
        return entry
    box, crowd = entry["bbox"], entry.get("iscrowd", 0)
    ids = entry.get("id"), entry.get("image_id"), entry.get("category_id")
    if not are_four_numbers(box) or not {int}.issuperset(map(type, ids)) or crowd not in (0, 1):
        return entry
    area = entry.get("area", box[2] * box[3])
    if not is_number(area) or area < 0:
        return entry
    try:
        return _ROW.pack(*ids, *box, area, bool(crowd))
    except struct.error:  # an id of more than 64 bits
        return entry


def _wrong(part: str, entry: Any) -> str:
    """Return what is wrong with an entry of a list, or ""."""
    needed = _PARTS[part]
    missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
    if missing:
        return f" has no {' and no '.join(missing)}"
    for key in needed:
        if key.endswith("id") and not isinstance(entry[key], (int, str)):
            return f": {key} is {entry[key]!r}; expected a whole number"
    return ""
