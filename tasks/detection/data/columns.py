"""Objects and detections of many pictures as columns: what every way of scoring starts from.

Half a million detections as columns are 30 MB and a few array operations; as dictionaries they are 300 MB and seconds.
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
    """What is there.

    Attributes:
        picture: [G] position of the picture, ascending.
        label: [G] class, from 0.
        xywh: [G, 4] left, top, width and height in pixels.
        area: [G] in square pixels; that of the mask where the data has masks.
        crowd: [G] whether it stands for a group of objects.
        difficult: [G] whether it counts neither as found nor as missed.
    """

    picture: Ints
    label: Ints
    xywh: Floats
    area: Floats
    crowd: Bools
    difficult: Bools

    @property
    def ignored(self) -> Bools:
        """[G] whether it counts neither way, of whatever size it is."""
        return self.crowd | self.difficult


@dataclass(frozen=True)
class Found:
    """What was answered.

    Attributes:
        picture: [D] position of the picture, ascending; the order within a picture decides between equal scores.
        label: [D] class, from 0.
        xywh: [D, 4] left, top, width and height in pixels.
        score: [D].
    """

    picture: Ints
    label: Ints
    xywh: Floats
    score: Floats

    @property
    def area(self) -> Floats:
        """[D] in square pixels."""
        return np.asarray(self.xywh[:, 2] * self.xywh[:, 3])


@dataclass(frozen=True)
class Columns:
    """All there is to score.

    Attributes:
        keys: of the pictures, by position: the order in which COCO's evaluation takes them.
        classes: names by label.
        truth: what is there.
        found: what was answered.
    """

    keys: tuple[str, ...]
    classes: tuple[str, ...]
    truth: Truth
    found: Found


def columns_of(
    keys: Sequence[str], classes: Sequence[str], targets: Sequence[Target], answers: Sequence[Mapping[str, NDArray[Any]]]
) -> Columns:
    """Bring targets and answers, one of each per picture, into columns.

    Args:
        keys: of the pictures, in the order they are to be counted in.
        classes: names by label.
        targets: full ones, as `as_target` gives them.
        answers: `boxes` [N, 4] xyxy, `scores` [N] and `labels` [N] each.
    """
    annotated = [target["annotated"] if "annotated" in target else _as_annotated(target) for target in targets]
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
    """Refuse an answer that can't be scored.

    Raises:
        InputError: scores or boxes that are not finite, boxes upside down, or labels outside the classes.
    """
    boxes, scores, labels = answer["boxes"], answer["scores"], answer["labels"]
    for name, values in (("scores", scores), ("boxes", boxes)):
        if not np.isfinite(values).all():
            raise InputError(f"{key}: its {name} are not finite; the model's weights are damaged, or --precision is too low for them")
    upside_down = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(1))
    if len(upside_down):
        raise InputError(f"{key}: the box {boxes[upside_down[0]].tolist()} is upside down; expected left, top, right, bottom")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(f"{key}: its labels range from {labels.min()} to {labels.max()}; the {classes} classes are counted from 0")


def _as_annotated(target: Target) -> Floats:
    return np.concatenate([_xywh(target["boxes"]), target["area"].astype(np.float64)[:, None]], axis=1)


def _xywh(boxes: NDArray[Any]) -> Floats:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _pictures(parts: Sequence[NDArray[Any]]) -> Ints:
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)


def _stacked(parts: Sequence[NDArray[Any]], width: int) -> Floats:
    return np.concatenate([np.empty((0, width)), *parts], dtype=np.float64)


def _joined(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)
