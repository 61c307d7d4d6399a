"""Timing of repeated calls: discards warm-up calls, reports median and 95th percentile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zoo.errors import check_positive


@dataclass(frozen=True)
class Timing:
    """Durations of repeated calls.

    Attributes:
        median_ms: median duration in milliseconds.
        p95_ms: 95th percentile of the durations in milliseconds.
        runs: number of timed calls.
    """

    median_ms: float
    p95_ms: float
    runs: int


def seconds_of(call: Callable[[], object]) -> float:
    """Return the wall-clock duration of one call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(
    call: Callable[[int], object],
    *,
    budget_s: float,
    warmup: int = 5,
    min_runs: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a call repeatedly until a time budget is used up.

    The first calls include allocation, kernel selection and cold caches, so they are not timed. The median is reported because
    a single interruption can distort the mean.

    Args:
        call: the function to time. It receives the index of the call (from 0), so that it can cycle through prepared inputs,
            and must return only when its work is done.
        budget_s: approximate total duration of the timed calls in seconds.
        warmup: number of untimed calls before the timed ones.
        min_runs: minimum number of timed calls, even if they exceed the budget.
        clock: monotonic clock in seconds.

    Raises:
        InputError: the budget or the minimum number of runs is not above 0.
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
    median, p95 = 1000 * np.percentile(durations, (50, 95))
    return Timing(float(median), float(p95), len(durations))
