"""Targets: the annotated objects of an image, in the form shared by all dataset formats and by training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import ATTRIBUTE, Record
from zoo.errors import Box, Flaw, InputError
from zoo.tasks.detection.attributes import value_text

Target = dict[str, NDArray[Any]]

TOLERANCE = 1.0  # pixels by which a box may exceed its image because of rounding; such a box is clipped
_PER_BOX = {"iscrowd": np.bool_, "difficult": np.bool_, "area": np.float32, "ids": np.int64, "annotated": np.float64}


def as_target(values: Mapping[str, Any] | None, key: str) -> Target:
    """Validate the target of the image `key`, and complete it with the default values of missing fields.

    A target has `boxes` [N, 4] float32, xyxy in pixels of the image, and `labels` [N] int64, from 0. By default, `iscrowd` and `difficult`,
    [N] bool, are False, and `area`, [N] float32, is that of the box in square pixels. Optional fields are the annotation ids, `ids` [N]
    int64, and `annotated` [N, 5] float64: x, y, width, height and area with all digits of the annotation file. COCO's evaluation uses them,
    because `boxes` are rounded to float32 and clipped to the image.

    Attributes of the objects are the optional fields `attribute:NAME`, [N] each: texts as annotated ("" for unknown values), or int64
    indices of a model's values (-1 for unknown values) after `attributes_matched`.

    Raises:
        InputError: the image isn't annotated, or the arrays have different lengths.
    """
    if not isinstance(values, Mapping) or "boxes" not in values or "labels" not in values:
        raise InputError(f'{key}: the target is a {type(values).__name__}; expected {{"boxes": [N, 4] xyxy in pixels, "labels": [N]}}')
    boxes = np.asarray(values["boxes"], np.float32).reshape(-1, 4)
    full: Target = {
        "boxes": boxes,
        "labels": np.asarray(values["labels"], np.int64),
        "iscrowd": np.zeros(len(boxes), np.bool_),
        "difficult": np.zeros(len(boxes), np.bool_),
        "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
    }
    full |= {name: np.asarray(values[name], dtype) for name, dtype in _PER_BOX.items() if name in values}
    for name in values:
        if name.startswith(ATTRIBUTE):
            array = np.asarray(values[name])
            full[name] = array if array.dtype.kind in "iU" else texts(array.tolist())
    for name, array in full.items():
        if len(array) != len(boxes):
            raise InputError(f"{key}: the target has {len(boxes)} boxes and {len(array)} {name}; expected equal numbers")
    return full


def texts(values: Iterable[Any]) -> NDArray[np.str_]:
    """Return the values of an attribute in annotations as an array of texts, "" for unknown ones."""
    return np.array([value_text(value) for value in values], np.str_)


def attribute_fields(objects: Sequence[Mapping[str, Any]]) -> Target:
    """Return the fields with the attributes of an image's objects, given as one mapping from names to values per object."""
    names = dict.fromkeys(name for each in objects for name in each)
    return {f"{ATTRIBUTE}{name}": texts(each.get(name) for each in objects) for name in names}


# box (xyxy in pixels), label, iscrowd, difficult, area in square pixels (None: the area of the box), and attributes
Labelled = tuple[Box, int, bool, bool, float | None, Mapping[str, Any]]


def target_of(objects: Sequence[Labelled]) -> Target:
    """Return the target of an image from its objects."""
    names = ("boxes", "labels", "iscrowd", "difficult")
    target = as_target({name: [each[place] for each in objects] for place, name in enumerate(names)}, "target")
    for place, (*_, area, _) in enumerate(objects):
        if area is not None:
            target["area"][place] = area
    return target | attribute_fields([attributes for *_, attributes in objects])


def relabelled(target: Mapping[str, Any], new_index: Sequence[int | None]) -> Target:
    """Replace each label i by new_index[i]. Boxes of dropped classes, for which new_index[i] is None, are removed."""
    full = as_target(target, "target")
    moved = np.array([-1 if index is None else index for index in new_index], np.int64)
    labels = moved[full["labels"]]
    kept = labels >= 0
    return {**{name: array[kept] for name, array in full.items()}, "labels": labels[kept]}


def keep_classes(records: Sequence[Record], new_index: Sequence[int | None]) -> list[Record]:
    """Replace the labels of all records and remove the boxes of dropped classes. Images are kept, even without boxes."""
    return [replace(record, target=relabelled(record.target, new_index)) for record in records]


def checked_box(box: Sequence[Any], size_hw: tuple[float, float]) -> Box:
    """Return a box of an annotation file, xyxy in pixels. A box that exceeds its image by at most one pixel is clipped.

    Raises:
        Flaw: the box is not four finite numbers, has no area, or exceeds the image by more than one pixel.
    """
    height, width = size_hw
    left, top, right, bottom = map(float, box)
    if 0 <= left < right <= width and 0 <= top < bottom <= height:
        return left, top, right, bottom  # fast path for nearly all boxes; a large dataset has half a million of them
    shown = f"[{left:g}, {top:g}, {right:g}, {bottom:g}] (xyxy)"
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise Flaw(f"the box {shown} is not four finite numbers")
    if right <= left or bottom <= top:
        kind = "box-swapped" if right < left or bottom < top else "box-no-area"
        raise Flaw(f"the box {shown} has no area; expected right > left and bottom > top", kind, (left, top, right, bottom))
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    beyond = max(abs(given - cut) for given, cut in zip((left, top, right, bottom), inside, strict=True))
    if beyond > TOLERANCE or inside[2] <= inside[0] or inside[3] <= inside[1]:
        reason = f"the box {shown} lies outside the image of {width:g}×{height:g} pixels"
        raise Flaw(reason, "box-outside", (left, top, right, bottom))
    return inside


def area_of(text: str) -> float | None:
    """Parse an area in square pixels from an annotation file; None if the text is empty."""
    try:
        area = float(text) if text else None
    except ValueError:
        area = math.nan
    if area is not None and not 0 <= area < math.inf:
        raise Flaw(f"area is {text!r}; expected an area in square pixels")
    return area
