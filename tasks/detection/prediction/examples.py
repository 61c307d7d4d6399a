"""Example detections next to the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.answers import Example
from zoo.tasks.detection.data.columns import Columns, Ints, columns_of
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.metric.matching import match

_SURE = 0.3  # minimum score of the boxes shown; detectors return many with lower scores
_BOXES = 40  # maximum number of true and of predicted boxes drawn per image; more would hide the image


def examples(
    answers: Sequence[Mapping[str, NDArray[Any]]], targets: Sequence[Target], keys: Sequence[str], classes: tuple[str, ...]
) -> Iterator[Example]:
    """Yield one example per image: its detections next to the ground truth, with the number of correct ones at IoU 0.5."""
    sure = [{name: array[answer["scores"] >= _SURE] for name, array in answer.items()} for answer in answers]
    columns = columns_of(keys, classes, [as_target(target, key) for target, key in zip(targets, keys, strict=True)], sure)
    matches = match(columns)
    right = matches.ranked.rows[matches.right[:, 0, 0]]
    wrong = matches.ranked.rows[~matches.right[:, 0, 0] & ~matches.ignored[:, 0, 0]]
    counted = np.flatnonzero(~matches.truth_ignored[:, 0])
    for place, key in enumerate(keys):
        found = int((columns.found.picture[right] == place).sum())
        more = int((columns.found.picture[wrong] == place).sum())
        there = np.flatnonzero(columns.truth.picture == place)
        answered = np.flatnonzero(columns.found.picture == place)
        objects = int((columns.truth.picture[counted] == place).sum())
        summary = f"{_counts(columns, columns.found.label[answered])}: {found} of {objects} found" + (f", {more} wrong" if more else "")
        truth = _counts(columns, columns.truth.label[there])
        boxes = [(_corners(columns.truth.xywh[row]), f"true {classes[columns.truth.label[row]]}") for row in there[:_BOXES]]
        for row in answered[:_BOXES]:
            caption = f"predicted {classes[columns.found.label[row]]} {columns.found.score[row]:.2f}"
            boxes.append((_corners(columns.found.xywh[row]), caption))
        yield Example((key,), summary, truth, found == objects and not more, tuple(boxes))


def _counts(columns: Columns, labels: Ints) -> str:
    counts = Counter(columns.classes[label] for label in labels)
    return ", ".join(f"{name} × {count}" for name, count in counts.most_common()) or "nothing"


def _corners(xywh: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(side) for side in xywh)
    return left, top, left + width, top + height
