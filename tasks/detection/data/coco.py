"""COCO's annotation files: the lists of images, categories and annotations, a dataset with their ids, and the outlines of objects.

The lists are read without outlines, which make up most of a file; these are read only when masks are needed. Each annotation is packed into
a row of bytes as soon as it is parsed. Half a million annotations occupy 50 MiB as rows, but 350 MiB as dictionaries. An unusual annotation
(a value that is not a number, a missing id, an extreme value) stays a dictionary, so that the reader can report it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError
from zoo.images.headers import MAX_PIXELS
from zoo.system.memory import no_collector

_HUGE = 1e12  # larger than any valid coordinate or area; comparisons with it are also False for NaN
_PARTS = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id", "bbox"), "categories": ("id", "name")}
_ROW = struct.Struct("<3q5d?")  # id, image_id, category_id; x, y, width, height, area; iscrowd
_NONE = "copy_paste needs the objects' masks"
_REMEDY = "Use coco: data with a segmentation, or set copy_paste to 0"


@dataclass(frozen=True, kw_only=True)
class NumberedDataset(Dataset):
    """Dataset with the image and category ids of its annotation file, to which results files refer.

    Attributes:
        pictures: image keys by image id. All images in the annotation file are included, even if `limit=` or an annotation error excludes
            them from the dataset.
        categories: class names by category id, for all categories in the annotation file.
        annotations: annotation file, from which outlines are read when needed.
    """

    pictures: Mapping[Any, str]
    categories: Mapping[Any, str]
    annotations: Path

    @property
    def order(self) -> dict[str, int]:
        """Position of each image by key. Images are in the order of their ids, in which COCO's evaluation processes them."""
        ids = sorted(self.pictures, key=lambda identity: (isinstance(identity, str), identity))
        return {self.pictures[identity]: place for place, identity in enumerate(ids)}


def read_lists(data: str, file: Path) -> dict[str, list[Any]]:
    """Read the lists of images, annotations and categories, and check the required keys of each entry.

    Entries are dictionaries; annotations may also be rows of bytes, which `annotation_of` unpacks. `data` is the dataset string, for
    messages.

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
            if not (isinstance(entry, bytes) and part == "annotations") and (wrong := _wrong(part, entry)):
                raise DataError(f"data {data!r}: {file}: {part}[{number}]{wrong}")
    return content  # type: ignore[no-any-return]  # just checked


def annotation_of(entry: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an annotation as in COCO's files: id, image_id, category_id, bbox (x, y, width, height), area and iscrowd."""
    if not isinstance(entry, bytes):
        return entry
    identity, image, category, *box, area, crowd = _ROW.unpack(entry)
    return {"id": identity, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}


def is_number(value: Any) -> bool:
    """Return whether a value is a number in the range of coordinates and areas. Booleans don't count as numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def are_four_numbers(values: Any) -> bool:
    """Return whether a value is a list of four numbers in the range of coordinates."""
    if not isinstance(values, list) or len(values) != 4 or not {int, float}.issuperset(map(type, values)):
        return False
    x, y, width, height = values
    return bool(-_HUGE < x < _HUGE and -_HUGE < y < _HUGE and -_HUGE < width < _HUGE and -_HUGE < height < _HUGE)


def _packed(entry: dict[str, Any]) -> dict[str, Any] | bytes:
    """Pack an annotation into a row; return other objects as dictionaries. Outlines are dropped from both."""
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
    try:
        return _ROW.pack(*ids, *box, area, bool(crowd))
    except struct.error:  # an id doesn't fit into 64 bits
        return entry


def _wrong(part: str, entry: Any) -> str:
    """Return the end of an error message about an entry of a list, or "" if the entry is valid."""
    needed = _PARTS[part]
    missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
    if missing:
        return f" has no {' and no '.join(missing)}"
    for key in needed:
        if key.endswith("id") and not isinstance(entry[key], (int, str)):
            return f": {key} is {entry[key]!r}; expected a whole number"
    return ""


@dataclass(frozen=True)
class Outlines:
    """Outlines (segmentations) of a dataset's objects, stored as in the annotation file and rasterised one image at a time."""

    parts: Mapping[int, Sequence[NDArray[np.float64]] | Mapping[str, Any]]  # polygons (x, y, x, y, …) or run lengths by annotation id

    @classmethod
    def of(cls, dataset: Dataset) -> Outlines:
        """Read the outlines of a dataset's objects.

        Raises:
            InputError: the dataset's format has no outlines, or no object of the dataset has one.
            DataError: an outline is invalid.
        """
        if not isinstance(dataset, NumberedDataset):
            raise InputError(f"{_NONE}; dataset {dataset.name!r} has only boxes. {_REMEDY}")
        file = dataset.annotations
        wanted = {int(identity) for record in dataset.records for identity in (record.target or {}).get("ids", ())}
        with no_collector():
            annotations = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_essence)["annotations"]
        parts = {}
        for number, entry in enumerate(annotations):
            identity, outline = entry.get("id", number), entry.get("segmentation")
            if identity in wanted and outline:
                parts[identity] = _checked(outline, f"{file}: annotation {identity}")
        if not parts:
            raise InputError(f"{_NONE}; no box of dataset {dataset.name!r} has a segmentation in {file.name}. {_REMEDY}")
        return cls(parts)

    def masks(self, target: Mapping[str, Any], size_hw: tuple[int, int]) -> Tensor:
        """Return the masks of one image's objects, [N, H, W] bool. The mask of an object without an outline is empty."""
        masks = np.zeros((len(target["boxes"]), *size_hw), np.bool_)
        for mask, identity in zip(masks, target.get("ids", ()), strict=False):
            outline = self.parts.get(int(identity))
            if outline is not None:
                mask[:] = _drawn(outline, size_hw)
        return torch.from_numpy(masks)


def _essence(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce an annotation to its id and outline. Other JSON objects, such as run lengths, are returned unchanged."""
    return {name: entry[name] for name in ("id", "segmentation") if name in entry} if "bbox" in entry else entry


def _checked(outline: Any, where: str) -> Any:
    """Return an outline with its polygons as arrays; raise a `DataError` unless it has run lengths or polygons of at least three points."""
    try:
        if isinstance(outline, dict):
            height, width = outline["size"]
            if 0 < height * width <= MAX_PIXELS:
                _decoded(outline)
                return outline
        else:
            polygons = [np.asarray(polygon, np.float64) for polygon in outline]
            shaped = all(polygon.ndim == 1 and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons)
            if polygons and shaped and all(np.isfinite(polygon).all() for polygon in polygons):
                return polygons
    except (KeyError, TypeError, ValueError, RuntimeError):  # the decoder raises the last two
        pass
    raise DataError(
        f"{where}: the segmentation is {str(outline)[:60]}; expected polygons [[x, y, x, y, x, y, …], …] or run lengths "
        '{"counts": …, "size": [height, width]}. Fix it, or set copy_paste to 0'
    )


def _decoded(runs: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the mask [H, W] that run lengths encode."""
    compressed = runs if isinstance(runs["counts"], str) else coco_mask.frPyObjects(dict(runs), *runs["size"])
    return coco_mask.decode(compressed)  # type: ignore[no-any-return]


def _drawn(outline: Any, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Return the mask [H, W] of one object. It is empty if run lengths are for a different image size, i.e. for another image."""
    if isinstance(outline, Mapping):
        mask = _decoded(outline)
        return mask if mask.shape == size_hw else np.zeros(size_hw, np.bool_)
    runs = coco_mask.frPyObjects([polygon.tolist() for polygon in outline], *size_hw)
    return coco_mask.decode(coco_mask.merge(runs))  # type: ignore[no-any-return]
