"""Samples with the model's answer beside the truth, for people to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.data.dataset import Record


@dataclass(frozen=True)
class Example:
    """One sample, or two that are compared, with answer and truth.

    Attributes:
        keys: of the sample; of a comparison both.
        answer: the model's, in words.
        truth: in words; "" where it isn't known.
        right: whether they agree; None where that can't be said.
        boxes_xyxy: boxes in pixels of the original picture, with a caption each, as in `zoo.task.metric.Mistake`.
    """

    keys: tuple[str, ...]
    answer: str
    truth: str
    right: bool | None
    boxes_xyxy: tuple[tuple[tuple[float, float, float, float], str], ...] = ()


def drawn(records: Sequence[Record], count: int) -> list[Record]:
    """Return some of the records, in their order: always the same ones, wherever in the data they stand."""
    places = sorted(range(len(records)), key=lambda place: hashlib.sha256(records[place].key.encode("utf-8", "replace")).digest())
    return [records[place] for place in sorted(places[:count])]
