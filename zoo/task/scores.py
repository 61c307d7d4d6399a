"""Result of an evaluation: scores with confidence intervals, dataset, and skipped samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Fault
from zoo.task.metric import Curve, Mistake, Table


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
            "versions": dict(self.versions),
        }
