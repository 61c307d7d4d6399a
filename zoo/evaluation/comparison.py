"""Comparison of two models on the same samples, with a significance test based on the paired bootstrap.

Every bootstrap replicate uses the same samples for both models (`zoo.evaluation.intervals.draws`). The effect of images that are difficult
for both models therefore cancels out, and much smaller differences are detected than by checking whether two intervals overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.evaluation.intervals import interval
from zoo.task.metric import Scores

_SEED = 1  # random seed for resampling training runs


@dataclass(frozen=True)
class Difference:
    """Difference in one score between A and B.

    Attributes:
        a: score of A, averaged over its training runs.
        b: score of B, averaged over its training runs.
        difference: b − a.
        interval: 95 % confidence interval of the difference; None if it can't be computed.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float] | None

    @property
    def distinguishable(self) -> bool | None:
        """Whether the confidence interval excludes 0; None if there is no interval."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as a JSON-serialisable dict."""
        bounds = None if self.interval is None else list(self.interval)
        return {"a": self.a, "b": self.b, "difference": self.difference, "interval": bounds, "distinguishable": self.distinguishable}


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        differences: differences by score name, for scores that are available for both A and B.
        n: number of samples on which A and B were scored.
        runs: number of training runs of A and of B.
        a: evaluation results of A, one per training run.
        b: evaluation results of B, one per training run.
    """

    differences: Mapping[str, Difference]
    n: int
    runs: tuple[int, int]
    a: tuple[Scores, ...]
    b: tuple[Scores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison in the format of `zoo compare --json`."""
        return {
            "differences": {name: difference.to_dict() for name, difference in self.differences.items()},
            "n": self.n,
            "runs": list(self.runs),
            "a": [scores.to_dict() for scores in self.a],
            "b": [scores.to_dict() for scores in self.b],
        }


def compare(a: Sequence[Scores], b: Sequence[Scores]) -> Comparison:
    """Compare two models, A and B, by their evaluation results on the same samples.

    If A or B has several results (training runs with different seeds), the bootstrap also resamples the runs. The interval then covers the
    variation between training runs as well as between samples.

    Args:
        a: evaluation results of A, one per training run.
        b: evaluation results of B, one per training run.

    Raises:
        InputError: A or B has no results, or the results are for different samples.
    """
    if not a or not b:
        raise InputError("nothing to compare: each side needs at least one evaluation result")
    _check_same_samples([*a, *b])
    rng = np.random.default_rng(_SEED)
    names = [name for name in a[0] if all(scores.get(name) is not None for scores in (*a, *b))]
    differences = {}
    for name in names:
        first, second = (float(np.mean([scores.scores[name] for scores in side])) for side in (a, b))
        bounds = None
        if all(name in scores.replicates for scores in (*a, *b)):
            # with many detections, a metric computes fewer draws; they are the first of the full number of draws
            draws = min(len(scores.replicates[name]) for scores in (*a, *b))
            bounds = interval(_drawn(b, name, draws, rng) - _drawn(a, name, draws, rng), second - first)
        differences[name] = Difference(first, second, second - first, bounds)
    return Comparison(differences, a[0].n, (len(a), len(b)), tuple(a), tuple(b))


def _drawn(side: Sequence[Scores], name: str, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the score for each of the first `draws` draws [R], averaged over resampled training runs of one side."""
    replicates = np.stack([scores.replicates[name][:draws] for scores in side])  # [runs, R]
    runs = len(replicates)
    chosen = rng.integers(runs, size=(runs, draws))
    return np.asarray(np.take_along_axis(replicates, chosen, axis=0).mean(0))


def _check_same_samples(results: Sequence[Scores]) -> None:
    first = results[0]
    for other in results[1:]:
        if other.sample_keys != first.sample_keys:
            only = sorted(set(first.sample_keys) ^ set(other.sample_keys))
            raise InputError(
                f"the two sides were not scored on the same samples: {len(only)} were scored on one side only ({', '.join(only[:5])}); "
                "use data that both can read"
            )
        if other.fingerprints.get("data") != first.fingerprints.get("data"):
            raise InputError(f"the two sides were scored on different data: {first.data!r} and {other.data!r}")
