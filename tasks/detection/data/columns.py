"""Objects and detections of many images as columns, the input of all scoring.

Half a million detections take 30 MB and a few array operations as columns; as dictionaries they take 300 MB and seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.tasks.detection.data.targets import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """Ground-truth objects."""

    picture: Ints  # index of each object's image, ascending, [G]
    label: Ints  # class of each object, from 0, [G]
    xywh: Floats  # left, top, width and height in pixels, [G, 4]
    area: Floats  # area in square pixels, [G]; that of the mask if the dataset has masks
    crowd: Bools  # whether each object stands for a group of objects, [G]
    difficult: Bools  # whether each object counts neither as found nor as missed, [G]

    @property
    def ignored(self) -> Bools:
        """Whether each object counts neither as found nor as missed, whatever its size, [G]."""
        return self.crowd | self.difficult


@dataclass(frozen=True)
class Found:
    """Detections."""

    picture: Ints  # index of each detection's image, ascending, [D]; the order within an image breaks ties between equal scores
    label: Ints  # class of each detection, from 0, [D]
    xywh: Floats  # left, top, width and height in pixels, [D, 4]
    score: Floats  # score of each detection, [D]

    @property
    def area(self) -> Floats:
        """Area in square pixels, [D]."""
        return np.asarray(self.xywh[:, 2] * self.xywh[:, 3])


@dataclass(frozen=True)
class Columns:
    """Objects and detections to score."""

    keys: tuple[str, ...]  # keys of the images by index, in the order in which COCO's evaluation processes them
    classes: tuple[str, ...]  # class names by label
    truth: Truth
    found: Found


def columns_of(
    keys: Sequence[str], classes: Sequence[str], targets: Sequence[Target], answers: Sequence[Mapping[str, NDArray[Any]]]
) -> Columns:
    """Convert the targets (as returned by `as_target`) and answers of images, in the order of evaluation, into columns."""
    annotated = [
        target["annotated"] if "annotated" in target else np.column_stack((_xywh(target["boxes"]), target["area"])) for target in targets
    ]
    rows = _stacked(annotated, 5)
    truth = Truth(
        _pictures(annotated),
        _joined([target["labels"] for target in targets], np.int64),
        rows[:, :4],
        rows[:, 4],
        _joined([target["iscrowd"] for target in targets], np.bool_),
        _joined([target["difficult"] for target in targets], np.bool_),
    )
    found = Found(
        _pictures([answer["scores"] for answer in answers]),
        _joined([answer["labels"] for answer in answers], np.int64),
        _xywh(_stacked([answer["boxes"] for answer in answers], 4)),
        _joined([answer["scores"] for answer in answers], np.float64),
    )
    return Columns(tuple(keys), tuple(classes), truth, found)


def check_answer(answer: Mapping[str, NDArray[Any]], key: str, classes: int) -> None:
    """Raise an `InputError` if scores or boxes are not finite, a box is upside down, or a label is outside the classes."""
    boxes, scores, labels = answer["boxes"], answer["scores"], answer["labels"]
    for name, values in (("scores", scores), ("boxes", boxes)):
        if not np.isfinite(values).all():
            raise InputError(f"{key}: its {name} are not finite; the model's weights are damaged, or --precision is too low for them")
    upside_down = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(1))
    if len(upside_down):
        raise InputError(f"{key}: the box {boxes[upside_down[0]].tolist()} is upside down; expected left, top, right, bottom")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(f"{key}: its labels range from {labels.min()} to {labels.max()}; the {classes} classes are counted from 0")


def _xywh(boxes: NDArray[Any]) -> Floats:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _pictures(parts: Sequence[NDArray[Any]]) -> Ints:
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)


def _stacked(parts: Sequence[NDArray[Any]], width: int) -> Floats:
    return np.concatenate([np.empty((0, width)), *parts], dtype=np.float64)


def _joined(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)
