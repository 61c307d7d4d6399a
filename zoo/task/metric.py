"""What a metric is, and what it finds: scores, the draws behind their intervals, mistakes, and what a report shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mistake:
    """One sample, or one pair, that the model got wrong.

    Attributes:
        keys: the sample's key; of a pair both.
        text: what is wrong, in words ("cat, answered dog with 0.98").
        badness: how bad: larger is worse. Comparable within one result alone.
        boxes_xyxy: the boxes in question, in pixels of the original picture: a box and its caption each. A caption's first
            word says of which kind the box is ("true", "answered", "missed"), and decides its colour.
        labels: the classes in question, by their place among the model's: the true one, then the answered.
    """

    keys: tuple[str, ...]
    text: str
    badness: float
    boxes_xyxy: tuple[tuple[tuple[float, float, float, float], str], ...] = ()
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A curve of a report.

    Attributes:
        title: what it shows.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        lines: name to points, x and y alike long.
        diagonal: whether the diagonal says something (chance, perfect calibration).
        log_x: whether the horizontal axis is logarithmic.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    diagonal: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a report, beside the scores and the scores per class, which every result has.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: as many cells each: words, numbers, or None where there is nothing to say.
        note: what a reader must know to read it; "" for nothing.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class MetricResult:
    """What a metric found.

    Attributes:
        scores: name to value; None where the data doesn't support the score.
        per_class: class name to its own scores.
        details: anything else worth keeping, JSON-ready (confusion matrix, folds, …).
        replicates: score name to its value in each bootstrap draw [R] of `zoo.evaluation.intervals.draws`, NaN where a draw doesn't support it;
            units are pictures in the natural order of their keys, or identities in the order of their names.
        mistakes: the worst of them, worst first.
        curves: what a report draws.
        tables: what a report shows besides.
    """

    scores: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    replicates: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    curves: tuple[Curve, ...] = ()
    tables: tuple[Table, ...] = ()


class Metric(Protocol):
    """Accumulates over batches, merges over processes, computes once."""

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Take one batch: one answer (as `Answers.split` gives), target and key per sample."""

    def state(self) -> Any:
        """Return what was accumulated, picklable."""

    def merge(self, states: Sequence[Any]) -> None:
        """Replace what was accumulated by the union of several states, its own among them, independent of their order."""

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute the scores.

        Args:
            replicates: bootstrap draws to score too; a metric may take fewer where they would be slow, and says so in its details.
        """
