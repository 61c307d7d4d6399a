"""The result of an evaluation: scores with their intervals, what they were measured on, and what was left out."""

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
    """The result of an evaluation: a mapping from score names to values (None where the data doesn't support one).

    Attributes:
        scores: name to value.
        n: samples that were scored.
        expected: samples of the manifest, those left out at opening included.
        skipped: what was left out, and why.
        per_class: class name to its own scores.
        intervals: score name to its 95 % interval (bootstrap over pictures, or over identities for faces).
        details: what else the task's metric found.
        data: the dataset string.
        preprocess: how pictures were prepared.
        precision: of the matrix work.
        seconds: wall-clock time of the loop.
        fingerprints: of the data, and of the model or the file of predictions.
        versions: of what computed the scores.
        sample_keys: the samples that were scored, sorted.
        replicates: score name to its value in each bootstrap draw [R]; the same samples have the same draws, so those of two
            models are paired.
        mistakes: the worst, worst first.
        curves: what a report draws.
        tables: what a report shows besides.
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
        """Return a score."""
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the scores."""
        return iter(self.scores)

    def __len__(self) -> int:
        """Return the number of scores."""
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `zoo eval --json` prints it."""
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
