"""Bootstrap intervals: how far a score could be off because these samples, and not others, were drawn.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13: samples are drawn anew with replacement, and the
percentiles of the scores of the draws bound the interval. Every draw is given as counts (how often each unit was drawn), so that
metrics weigh what they have counted once instead of counting again.

Draws depend on the number of units and the seed alone. Two models on the same samples are therefore scored on the same draws, and
the differences of their replicates are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]

REPLICATES = 1_000
LEVEL = 0.95
_SEED = 0
_MOST_ACCELERATION = 0.2  # beyond, replicates are so few and so lopsided that their skewness says nothing
_NORMAL = NormalDist()
_CHUNK = 4_000_000  # counts held at once: 16 MB


def draws(units: int, replicates: int = REPLICATES, seed: int = _SEED) -> Iterator[Counts]:
    """Draw `units` units out of as many, with replacement, many times over.

    Args:
        units: pictures or identities, in an order that doesn't depend on batches or processes.
        replicates: how many draws.
        seed: decides which.

    Yields:
        [r, units] int32, how often each unit was drawn; every row sums to `units`. Together there are `replicates` rows.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, units))
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        counts = np.empty((rows, units), np.int32)
        for row in counts:
            row[:] = np.bincount(rng.integers(units, size=units), minlength=units)
        yield counts


def interval(replicates: Floats, estimate: float | None = None, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the interval of a score from its replicates [R].

    With the estimate, the percentiles are corrected twice. Draws are to the samples as the samples are to the world: by as much as
    the mean of the draws lies beside the estimate, the estimate lies beside the truth, so the interval is moved by twice that
    (Efron & Tibshirani 1993, chapter 10; next to nothing but for the calibration error, whose every draw is further off than the last).
    And a score near 1 is less certain where it happens to be lower: the acceleration of chapter 14 (BCa), which for sums is a sixth of
    the replicates' skewness, moves both percentiles. Without it nearly all intervals that miss the truth lie above it.

    Args:
        replicates: [R]; NaN for a draw without what the score needs.
        estimate: the score of the samples themselves; None for plain percentiles.
        level: how often the interval should hold the truth.

    Returns:
        Low and high; None where more than one in twenty replicates is NaN: the data doesn't support an interval.
    """
    known = replicates[np.isfinite(replicates)]
    if len(known) < 0.95 * len(replicates) or not len(known):
        return None
    tails = [(1 - level) / 2, (1 + level) / 2]
    spread = float(known.std())
    if estimate is None or not spread > 0:
        low, high = np.quantile(known, tails)
        return float(low), float(high)
    skewness = float(((known - known.mean()) ** 3).mean()) / spread**3
    acceleration = min(max(skewness / 6, -_MOST_ACCELERATION), _MOST_ACCELERATION)
    low, high = np.quantile(known, [_accelerated(tail, acceleration) for tail in tails]) - 2 * (known.mean() - estimate)
    if known.min() >= 0 and known.max() <= 1:  # a part of something: it can't be moved below none or above all
        low, high = np.clip([low, high], 0, 1)
    return float(low), float(high)


def _accelerated(tail: float, acceleration: float) -> float:
    """Return which percentile stands for a tail (Efron & Tibshirani 1993, equation 14.10, the bias taken as the acceleration)."""
    moved = acceleration + _NORMAL.inv_cdf(tail)
    return _NORMAL.cdf(acceleration + moved / (1 - acceleration * moved))
