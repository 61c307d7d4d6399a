"""How long a call takes: warm-up dropped, median and 95th percentile, nothing but the call inside the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from zoo.errors import check_positive


@dataclass(frozen=True)
class Timing:
    """Durations of repeated calls.

    Attributes:
        median_ms: the middle duration, in milliseconds.
        p95_ms: the duration that 95 % of the calls stay within, in milliseconds.
        runs: how many calls were timed.
    """

    median_ms: float
    p95_ms: float
    runs: int


def measure(
    call: Callable[[int], object],
    *,
    budget_s: float,
    warmup: int = 5,
    min_runs: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a call again and again until the budget is used up.

    The first calls pay for allocation, kernel selection and cold caches, so they are made but not counted. The median is
    reported because a mean is at the mercy of one interruption by the machine.

    Args:
        call: what is timed; it gets the number of the call (from 0), so that it can take one prepared input after another,
            and must return only when its work is done.
        budget_s: seconds of timed calls to aim at.
        warmup: calls made beforehand.
        min_runs: timed calls made even where the budget doesn't allow them.
        clock: seconds, monotonic.

    Raises:
        InputError: a budget, or a least number of runs, that is not above 0.
    """
    check_positive("timing", budget_s=budget_s, min_runs=min_runs)
    for number in range(warmup):
        call(number)
    durations: list[float] = []
    total = 0.0
    while total < budget_s or len(durations) < min_runs:
        start = clock()
        call(warmup + len(durations))
        durations.append(clock() - start)
        total += durations[-1]
    return Timing(1000 * statistics.median(durations), 1000 * percentile(durations, 95), len(durations))


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile, linearly interpolated between the two nearest values (NumPy's default rule).

    Args:
        values: one or more numbers, in any order.
        percent: 0 to 100.

    Example:
        >>> percentile([4.0, 1.0, 2.0, 3.0], 50)
        2.5
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
