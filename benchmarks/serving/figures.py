"""The table's figures, calculated from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.benchmarks.serving.load import Load


@dataclass(frozen=True)
class Figure:
    """A measured value beside its bound.

    Attributes:
        what: what was measured.
        value: the value.
        bound: the largest permitted value, or the smallest one if `least`.
        unit: unit of the value.
        least: whether the bound is the smallest permitted value.
        note: further figures.
    """

    what: str
    value: float
    bound: float
    unit: str
    least: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the value is within the bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound


def drift(sizes: Sequence[tuple[float, float]], load: Load, warm: int) -> tuple[float, float]:
    """Return the memory after `warm` requests, and its largest relative change until the last request.

    Args:
        sizes: pairs of time.monotonic() and memory, in order of time.
        load: the requests that were sent meanwhile.
        warm: number of requests before the first of these measurements that counts.
    """
    ends = sorted(sample.start + sample.seconds for sample in load.samples)
    later = [size for moment, size in sizes if moment >= ends[min(warm, len(ends)) - 1]] or [sizes[-1][1]]
    return later[0], max(abs(size - later[0]) for size in later) / later[0]


def outage(states: Sequence[tuple[float, bool]], killed: float) -> tuple[float, float]:
    """Return the seconds after which a server wasn't ready any more, and those after which it was ready again.

    Args:
        states: pairs of time.monotonic() and readiness, in order of time.
        killed: time at which a worker was killed. An outage that isn't seen, or doesn't end, is infinitely late.
    """
    gone = next((moment for moment, ready in states if moment >= killed and not ready), float("inf"))
    back = next((moment for moment, ready in states if moment > gone and ready), float("inf"))
    return gone - killed, back - killed


def largest_difference(answers: Mapping[str, Iterable[bytes]], expected: Mapping[str, Any]) -> float:
    """Return the largest difference between the numbers in a server's answers and in the expected predictions, by file name.

    It is infinite if an answer contains other texts, keys or numbers of predictions.
    """
    largest = 0.0
    for name, bodies in answers.items():
        for body in bodies:
            largest = max(largest, _difference(json.loads(body)["predictions"], [{**expected[name], "key": name}]))
    return largest


def _difference(ours: Any, theirs: Any) -> float:
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return max((_difference(ours[key], theirs[key]) for key in ours), default=0.0)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return max((_difference(*pair) for pair in zip(ours, theirs, strict=True)), default=0.0)
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs)
    return 0.0 if ours == theirs else float("inf")
