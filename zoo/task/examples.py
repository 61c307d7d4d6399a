"""Example samples for reports: the model's answer next to the ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.data.dataset import Record


@dataclass(frozen=True)
class Example:
    """A sample, or a pair of samples, with the model's answer and the ground truth.

    Attributes:
        keys: key of the sample, or the two keys of a pair.
        answer: the model's answer as text.
        truth: the ground truth as text; "" if it isn't known.
        right: whether the answer is correct; None if that can't be determined.
        boxes_xyxy: boxes in pixels of the original image, each with a caption, as in `zoo.task.metric.Mistake`.
    """

    keys: tuple[str, ...]
    answer: str
    truth: str
    right: bool | None
    boxes_xyxy: tuple[tuple[tuple[float, float, float, float], str], ...] = ()


def drawn(records: Sequence[Record], count: int) -> list[Record]:
    """Return up to `count` records in dataset order; the choice depends only on their keys, not on their positions."""
    places = sorted(range(len(records)), key=lambda place: hashlib.sha256(records[place].key.encode("utf-8", "replace")).digest())
    return [records[place] for place in sorted(places[:count])]
