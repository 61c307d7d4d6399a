"""Timing calls, and the description of the machine."""

from __future__ import annotations

import time

import numpy as np
import psutil
import pytest

from zoo.benchmarks.harness import measurement
from zoo.benchmarks.harness.command import timed
from zoo.benchmarks.harness.measurement import measure
from zoo.benchmarks.harness.report import Timing
from zoo.errors import InputError


class FakeClock:
    """A clock that advances only during work."""

    def __init__(self, durations_ms: list[float]) -> None:
        self.now, self.durations_ms, self.calls = 0.0, durations_ms, list[int]()

    def __call__(self) -> float:
        return self.now

    def work(self, number: int) -> None:
        self.calls.append(number)
        self.now += self.durations_ms[number % len(self.durations_ms)] / 1000


def test_warm_up_is_made_and_not_counted() -> None:
    clock = FakeClock([1000, 1000, *[10.0] * 98])  # two slow warm-up calls
    timing = measure(clock.work, budget_s=0.2, warmup=2, clock=clock)
    assert timing.median_ms == pytest.approx(10)
    assert timing.p95_ms == pytest.approx(10)
    assert timing.runs in (20, 21)  # 0.2 s of 10 ms calls; the sum of floats may fall just short
    assert clock.calls == list(range(2 + timing.runs))


def test_one_interruption_moves_neither_median_nor_p95() -> None:
    clock = FakeClock([*[1.0] * 50, 500.0, *[3.0] * 50])
    timing = measure(clock.work, budget_s=0.699, warmup=0, clock=clock)
    assert timing.runs == 101
    assert timing.median_ms == pytest.approx(3)
    assert timing.p95_ms == pytest.approx(3)


def test_slow_calls_are_made_the_least_number_of_times() -> None:
    clock = FakeClock([5000.0])
    assert measure(clock.work, budget_s=1, warmup=1, min_runs=4, clock=clock) == Timing(5000, 5000, 4, (5000,) * 4)
    assert len(clock.calls) == 5


def test_calls_are_grouped_into_blocks_of_a_tenth_of_a_second() -> None:
    clock = FakeClock([40.0, 20.0, 60.0, 30.0])
    timing = measure(clock.work, budget_s=0.4, warmup=0, clock=clock)
    assert timing.runs == 11
    # 40 + 20 + 60, 30 + 40 + 20 + 60, 30 + 40 + 20 + 60; the last block is not finished
    assert timing.blocks_ms == pytest.approx((40, 35, 35))


@pytest.mark.parametrize(("budget_s", "min_runs", "name"), [(0, 1, "budget_s"), (1, 0, "min_runs")])
def test_timing_refuses_an_empty_budget(budget_s: float, min_runs: int, name: str) -> None:
    with pytest.raises(InputError, match=f"timing: {name} is 0; expected a number above 0"):
        measure(lambda number: None, budget_s=budget_s, min_runs=min_runs)


def test_percentiles_are_interpolated() -> None:
    clock = FakeClock([4.0, 1.0, 2.0, 3.0])
    timing = measure(clock.work, budget_s=0.001, warmup=0, min_runs=4, clock=clock)
    assert [timing.median_ms, timing.p95_ms] == pytest.approx([2.5, 3.85])


def test_one_call_is_timed() -> None:
    result, seconds = timed(divmod, 7, 2)
    assert result == (3, 1)
    assert 0 < seconds < 1
    assert timed(time.sleep, 0.01)[1] >= 0.01


def test_the_machine_is_described() -> None:
    found = measurement.describe_machine()
    assert found["cores"] == len(psutil.Process().cpu_affinity())
    assert found["memory_mib"] == psutil.virtual_memory().total // 2**20
    assert found["cpu"]
    assert found["packages"]["resnet-zoo"]


def test_peak_memory_stays_after_the_memory_is_freed() -> None:
    before = measurement.peak_memory_mib()
    block = np.ones(200 * 2**20 + int(before * 2**20 - psutil.Process().memory_info().rss), dtype=np.uint8)
    del block
    assert measurement.peak_memory_mib() == pytest.approx(before + 200, abs=20)
