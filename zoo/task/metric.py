"""The `Metric` interface, and its result: scores, bootstrap replicates, mistakes, curves and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mistake:
    """A sample, or a pair of samples, for which the model's prediction is wrong.

    Attributes:
        keys: key of the sample, or the two keys of a pair.
        text: description of the mistake ("cat, answered dog with 0.98").
        badness: severity of the mistake; larger is worse. Comparable only within one result.
        boxes_xyxy: boxes involved in the mistake (xyxy), in pixels of the original image, each with a caption. The first word of a
            caption is the kind of box ("true", "answered", "missed") and determines its colour.
        labels: indices of the true class and of the predicted class, in this order.
    """

    keys: tuple[str, ...]
    text: str
    badness: float
    boxes_xyxy: tuple[tuple[tuple[float, float, float, float], str], ...] = ()
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A line chart in a report.

    Attributes:
        title: title of the chart.
        x_label: label of the horizontal axis.
        y_label: label of the vertical axis.
        lines: lines by name, each as x and y coordinates of equal length.
        diagonal: whether to draw the diagonal as a reference (chance, perfect calibration).
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
    """An additional table in a report; every report already shows the scores, overall and per class.

    Attributes:
        title: title of the table.
        header: column names.
        rows: rows of cells, one per column: text, a number, or None for an empty cell.
        note: explanation shown above the table; "" for none.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class MetricResult:
    """Result of a metric.

    Attributes:
        scores: values by score name; None if a score is undefined on the dataset.
        per_class: scores by class name and score name.
        details: further results, JSON-serialisable (confusion matrix, folds, …).
        replicates: bootstrap replicates [R] by score name, one for each draw of `zoo.evaluation.intervals.draws`; NaN if the score is
            undefined on a draw. The resampled units are images, in natural order of their keys, or identities, in order of their names.
        mistakes: the worst mistakes, worst first.
        curves: charts for the report.
        tables: additional tables for the report.
    """

    scores: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    replicates: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    curves: tuple[Curve, ...] = ()
    tables: tuple[Table, ...] = ()


class Metric(Protocol):
    """Interface of metrics, which accumulate batches, merge the states of several processes, and then compute scores."""

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add a batch: one prediction (in the format of `Answers.split`), one target and one key per sample."""

    def state(self) -> Any:
        """Return the accumulated state as a picklable object."""

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the state by the union of `states`, which include this metric's own state. Their order doesn't matter."""

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute the scores.

        Args:
            replicates: number of bootstrap replicates. A metric may compute fewer to save time, and then reports the number in its details.
        """
