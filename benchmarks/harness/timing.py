"""Time repeated calls, and define the measured figures of a benchmark case."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from zoo.errors import check_positive


@dataclass(frozen=True)
class Timing:
    """Statistics of the durations of repeated calls."""

    median_ms: float  # median duration in milliseconds
    p95_ms: float  # 95th percentile of the durations in milliseconds
    runs: int  # number of timed calls


@dataclass(frozen=True)
class Throughput:
    """Number of images per second that a model processes in batches."""

    batch_size: int  # images per call
    images_per_second: float  # images per second, computed from the median duration of a call


@dataclass(frozen=True)
class Measurement:
    """Measured figures of a case that didn't fail."""

    scores: Mapping[str, float | None]  # scores by name; None for a score that is undefined for the data
    n: int  # number of evaluated images
    skipped: int  # number of skipped images
    train_seconds: float | None  # wall-clock training time in seconds; None if the case doesn't train
    eval_seconds: float  # wall-clock evaluation time in seconds, including reading and preprocessing the images
    eval_images_per_second: float  # images evaluated per second
    latency: Timing  # duration of a call with one preprocessed image
    throughput: Throughput  # rate of calls with several preprocessed images
    parameters: int  # number of parameters of the model, frozen ones included
    peak_memory_mib: float  # peak memory of the case's process in MiB, excluding loader processes

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in the format of report.json, rounded to their meaningful precision."""
        latency = {"median": round(self.latency.median_ms, 3), "p95": round(self.latency.p95_ms, 3), "runs": self.latency.runs}
        return {
            "scores": dict(self.scores),
            "n": self.n,
            "skipped": self.skipped,
            "train_seconds": None if self.train_seconds is None else round(self.train_seconds, 2),
            "eval_seconds": round(self.eval_seconds, 2),
            "eval_images_per_second": round(self.eval_images_per_second, 2),
            "latency_ms": latency,
            "throughput": {
                "batch_size": self.throughput.batch_size,
                "images_per_second": round(self.throughput.images_per_second, 2),
            },
            "parameters": self.parameters,
            "peak_memory_mib": round(self.peak_memory_mib, 1),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Create a measurement from the output of `to_dict`."""
        latency = values["latency_ms"]
        own = {key.name: values[key.name] for key in fields(cls) if key.name not in ("latency", "throughput")}
        return cls(**own, latency=Timing(latency["median"], latency["p95"], latency["runs"]), throughput=Throughput(**values["throughput"]))


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
    """Time a function repeatedly until a time budget is used up.

    The first calls are not timed, because they include allocations, kernel selection and cold caches. The median is reported because a
    single interruption can distort the mean.

    Args:
        call: function to time. It receives the index of the call, from 0, so that it can cycle through prepared inputs. It must return only
            when its work is completed.
        budget_s: total time of the timed calls in seconds after which no further call starts.
        warmup: number of untimed calls before the timed ones.
        min_runs: minimum number of timed calls, even if they exceed the budget.
        clock: function that returns the time in seconds.
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
