"""Examples for reports: the model's prediction next to the ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.data.dataset import Record


@dataclass(frozen=True)
class Example:
    """A sample, or a pair of samples, with the model's prediction and the ground truth.

    Attributes:
        keys: key of the sample, or the two keys of a pair.
        answer: the model's prediction as text.
        truth: the ground truth as text; "" if unknown.
        right: whether the prediction is correct; None if unknown.
        boxes_xyxy: boxes (xyxy) in pixels of the original image, each with a caption in the format of `zoo.task.metric.Mistake.boxes_xyxy`.
    """

    keys: tuple[str, ...]
    answer: str
    truth: str
    right: bool | None
    boxes_xyxy: tuple[tuple[tuple[float, float, float, float], str], ...] = ()


def drawn(records: Sequence[Record], count: int) -> list[Record]:
    """Return up to `count` records in dataset order. The choice depends only on the keys, not on the order of the records."""
    places = sorted(range(len(records)), key=lambda place: hashlib.sha256(records[place].key.encode("utf-8", "replace")).digest())
    return [records[place] for place in sorted(places[:count])]
