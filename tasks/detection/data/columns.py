"""Ground-truth objects and detections of many images as columns (arrays), the input of all scoring functions.

Half a million detections occupy 30 MB as columns and are processed by a few array operations. As dictionaries they occupy 300 MB, and
processing takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import ATTRIBUTE
from zoo.errors import InputError
from zoo.tasks.detection.attributes import Attributes
from zoo.tasks.detection.data.targets import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """Ground-truth objects of all images."""

    picture: Ints  # index of each object's image, ascending, [G]
    label: Ints  # class of each object, from 0, [G]
    xywh: Floats  # left, top, width and height in pixels, [G, 4]
    area: Floats  # area in square pixels, [G]; the area of the mask if the dataset has masks, otherwise of the box
    crowd: Bools  # whether each box marks a crowd (a group of objects), [G]
    difficult: Bools  # whether each object counts neither as found nor as missed, [G]
    attributes: Mapping[str, Ints] = field(default_factory=dict)  # index of each object's value by attribute name, [G]; -1 if unknown

    @property
    def ignored(self) -> Bools:
        """Whether each object, regardless of its size, counts neither as found nor as missed, [G]."""
        return self.crowd | self.difficult


@dataclass(frozen=True)
class Found:
    """Detections of all images."""

    picture: Ints  # index of each detection's image, ascending, [D]; the order within an image breaks ties between equal scores
    label: Ints  # class of each detection, from 0, [D]
    xywh: Floats  # left, top, width and height in pixels, [D, 4]
    score: Floats  # score of each detection, [D]
    attributes: Mapping[str, Floats] = field(default_factory=dict)  # probabilities of the values by attribute name, [D, values]

    @property
    def area(self) -> Floats:
        """Area of each box in square pixels, [D]."""
        return np.asarray(self.xywh[:, 2] * self.xywh[:, 3])


@dataclass(frozen=True)
class Columns:
    """Ground-truth objects and detections to score."""

    keys: tuple[str, ...]  # keys of the images by index, in the order in which COCO's evaluation processes them
    classes: tuple[str, ...]  # class names by label
    truth: Truth
    found: Found


def columns_of(
    keys: Sequence[str],
    classes: Sequence[str],
    targets: Sequence[Target],
    answers: Sequence[Mapping[str, Any]],
    attributes: Attributes = MappingProxyType({}),
) -> Columns:
    """Convert targets (from `as_target`) and predictions, one each per image in the order of evaluation, to columns.

    `attributes` are the model's attributes. Targets that lack one of them have unknown values.
    """
    unknown = [np.full(len(target["boxes"]), -1) for target in targets]
    annotated = [each["annotated"] if "annotated" in each else np.column_stack((_xywh(each["boxes"]), each["area"])) for each in targets]
    rows = _stacked(annotated, 5)
    truth = Truth(
        _pictures(annotated),
        _joined([target["labels"] for target in targets], np.int64),
        rows[:, :4],
        rows[:, 4],
        _joined([target["iscrowd"] for target in targets], np.bool_),
        _joined([target["difficult"] for target in targets], np.bool_),
        {
            name: _joined([target.get(f"{ATTRIBUTE}{name}", none) for target, none in zip(targets, unknown, strict=True)], np.int64)
            for name in attributes
        },
    )
    found = Found(
        _pictures([answer["scores"] for answer in answers]),
        _joined([answer["labels"] for answer in answers], np.int64),
        _xywh(_stacked([answer["boxes"] for answer in answers], 4)),
        _joined([answer["scores"] for answer in answers], np.float64),
        {name: _stacked([answer["attributes"][name] for answer in answers], len(values)) for name, values in attributes.items()},
    )
    return Columns(tuple(keys), tuple(classes), truth, found)


def check_answer(answer: Mapping[str, Any], key: str, classes: int) -> None:
    """Raise an `InputError` if numbers are not finite, corners of a box are swapped, or a label is not the index of a class."""
    boxes, scores, labels = answer["boxes"], answer["scores"], answer["labels"]
    for name, values in (("scores", scores), ("boxes", boxes), *answer.get("attributes", {}).items()):
        if not np.isfinite(values).all():
            raise InputError(f"{key}: its {name} are not finite; the model's weights are damaged, or --precision is too low for them")
    upside_down = boxes[(boxes[:, 2:] < boxes[:, :2]).any(1)]
    if len(upside_down):
        raise InputError(f"{key}: the box {upside_down[0].tolist()} is upside down or mirrored; expected left, top, right, bottom")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"{key}: its labels range from {labels.min()} to {labels.max()}; expected indices of the {classes} classes, from 0"
        )


def _xywh(boxes: NDArray[Any]) -> Floats:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _pictures(parts: Sequence[NDArray[Any]]) -> Ints:
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)


def _stacked(parts: Sequence[NDArray[Any]], width: int) -> Floats:
    return np.concatenate([np.empty((0, width)), *parts], dtype=np.float64)


def _joined(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)
