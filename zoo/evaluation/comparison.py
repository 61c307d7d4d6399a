"""Two models on the same samples: by how much their scores differ, and whether that is more than luck.

The samples drawn in a bootstrap draw are the same for both (`zoo.evaluation.intervals.draws`), so what makes a picture hard for both cancels
out, and far smaller differences can be told from none than by looking whether two intervals overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.evaluation.intervals import interval
from zoo.task.scores import Scores

_SEED = 1  # of which training runs are drawn


@dataclass(frozen=True)
class Difference:
    """How a score differs, B − A.

    Attributes:
        a: the score of A, the mean over its runs.
        b: the score of B.
        difference: b − a.
        interval: 95 % interval of the difference; None where the data doesn't support one.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float] | None

    @property
    def distinguishable(self) -> bool | None:
        """Whether nought lies outside the interval; None without an interval."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Return the difference, JSON-ready."""
        bounds = None if self.interval is None else list(self.interval)
        return {"a": self.a, "b": self.b, "difference": self.difference, "interval": bounds, "distinguishable": self.distinguishable}


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        differences: score name to its difference, of those that both sides have.
        n: samples that both were scored on.
        runs: how many training runs stand behind A and B.
        a: the results of A.
        b: the results of B.
    """

    differences: Mapping[str, Difference]
    n: int
    runs: tuple[int, int]
    a: tuple[Scores, ...]
    b: tuple[Scores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as `zoo compare --json` prints it."""
        return {
            "differences": {name: difference.to_dict() for name, difference in self.differences.items()},
            "n": self.n,
            "runs": list(self.runs),
            "a": [scores.to_dict() for scores in self.a],
            "b": [scores.to_dict() for scores in self.b],
        }


def compare(a: Sequence[Scores], b: Sequence[Scores]) -> Comparison:
    """Compare results on the same samples.

    With several results on a side (training runs with different seeds) the runs are drawn anew too, so that the interval covers
    the luck of the training as well as that of the samples.

    Args:
        a: one result, or one per training run.
        b: likewise.

    Raises:
        InputError: nothing to compare, or not the same samples.
    """
    if not a or not b:
        raise InputError("nothing to compare: each side needs a result")
    _check_same_samples([*a, *b])
    rng = np.random.default_rng(_SEED)
    names = [name for name in a[0] if all(scores.get(name) is not None for scores in (*a, *b))]
    differences = {}
    for name in names:
        first, second = (float(np.mean([scores.scores[name] for scores in side])) for side in (a, b))
        bounds = None
        if all(name in scores.replicates for scores in (*a, *b)):
            # where a side has fewer draws (many detections), these are the first of the other's
            draws = min(len(scores.replicates[name]) for scores in (*a, *b))
            bounds = interval(_drawn(b, name, draws, rng) - _drawn(a, name, draws, rng), second - first)
        differences[name] = Difference(first, second, second - first, bounds)
    return Comparison(differences, a[0].n, (len(a), len(b)), tuple(a), tuple(b))


def _drawn(side: Sequence[Scores], name: str, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the score of a side in each of the first draws [R]: the mean over its runs, which are drawn too where there are several."""
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
                f"the two sides were not scored on the same samples: {len(only)} were scored on one side alone ({', '.join(only[:5])}); "
                "compare on data that both can read"
            )
        if other.fingerprints.get("data") != first.fingerprints.get("data"):
            raise InputError(f"the two sides were scored on different data: {first.data!r} and {other.data!r}")
