"""Bootstrap intervals: how far a score could be off because these samples, and not others, were drawn.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13: samples are drawn anew with replacement, and the
percentiles of the scores of the draws bound the interval. Every draw is given as counts (how often each unit was drawn), so that
metrics weigh what they have counted once instead of counting again.

Draws depend on the number of units and the seed alone. Two models on the same samples are therefore scored on the same draws, and
the differences of their replicates are paired.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]

REPLICATES = 1_000
LEVEL = 0.95
_SEED = 0
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


def interval(replicates: Floats, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the percentile interval of replicates [R].

    None where more than one in twenty of them is NaN (a draw without what the score needs): the data doesn't support an interval.
    """
    known = replicates[np.isfinite(replicates)]
    if len(known) < 0.95 * len(replicates) or not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
