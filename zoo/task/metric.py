"""The `Metric` interface, its result (scores, bootstrap replicates, mistakes, curves, tables), and the result of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Fault


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
        marks: points to mark, by the name of their line: the x and y coordinate, and a description.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    diagonal: bool = False
    log_x: bool = False
    marks: Mapping[str, tuple[float, float, str]] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Scores(Mapping[str, "float | None"]):
    """Result of an evaluation. It is a mapping from score names to values; a value is None if the score is undefined on the dataset.

    Attributes:
        scores: values by score name.
        n: number of scored samples.
        expected: number of samples in the dataset, including those skipped when it was opened.
        skipped: errors of skipped samples and annotations.
        per_class: scores by class name and score name.
        intervals: 95 % bootstrap confidence intervals by score name. Images are resampled, or identities for faces.
        details: further results of the metric, JSON-serialisable.
        data: the dataset string.
        preprocess: the preprocessing of the images.
        precision: precision of matrix multiplications.
        seconds: wall-clock time of the evaluation loop.
        fingerprints: fingerprints of the dataset and of the model or prediction file, by name.
        hub: repository and commit of each model that was loaded from the Hub, by model name.
        versions: versions of the packages used, by package name.
        sample_keys: keys of the scored samples, sorted.
        replicates: bootstrap replicates [R] by score name. Draws depend only on the samples, so the replicates of two models on
            the same samples are paired.
        mistakes: the worst mistakes, worst first.
        curves: charts for the report.
        tables: additional tables for the report.
    """

    scores: Mapping[str, float | None]
    n: int
    expected: int
    skipped: tuple[Fault, ...] = ()
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    seconds: float = 0.0
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    hub: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    sample_keys: tuple[str, ...] = ()
    replicates: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False)
    curves: tuple[Curve, ...] = field(default=(), repr=False)
    tables: tuple[Table, ...] = field(default=(), repr=False)

    def __getitem__(self, name: str) -> float | None:
        """Return the score with this name."""
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the scores."""
        return iter(self.scores)

    def __len__(self) -> int:
        """Return the number of scores."""
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the result in the format of `zoo eval --json`."""
        return {
            "scores": dict(self.scores),
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "per_class": {name: dict(scores) for name, scores in self.per_class.items()},
            "n": self.n,
            "expected": self.expected,
            "skipped": [fault.to_dict() for fault in self.skipped],
            "data": self.data,
            "details": dict(self.details),
            "preprocess": dict(self.preprocess),
            "precision": self.precision,
            "seconds": round(self.seconds, 3),
            "fingerprints": dict(self.fingerprints),
            **({"hub": {name: dict(commit) for name, commit in self.hub.items()}} if self.hub else {}),
            "versions": dict(self.versions),
        }
