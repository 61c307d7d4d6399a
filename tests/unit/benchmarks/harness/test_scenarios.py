"""The scenarios of MLPerf on a simulated clock, where the right figures are known, and the numbers of queries that percentiles need."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence

import pytest

from zoo.benchmarks.harness.scenarios import (
    Length,
    RealClock,
    check_scenarios,
    multi_stream,
    offline,
    percentile_of,
    run_scenarios,
    serve,
    server,
    single_stream,
)
from zoo.benchmarks.harness.stopping import holds, queries_needed, upper_estimate
from zoo.errors import InputError

LONG = Length(seconds=200, most_s=2000)


class SimulatedClock:
    """A clock that only moves when a model computes or somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


class Model:
    """A model that takes a fixed time for a call and a further one for each image."""

    def __init__(self, clock: SimulatedClock, call_s: float, image_s: float = 0.0) -> None:
        self.clock, self.call_s, self.image_s, self.calls = clock, call_s, image_s, list[list[int]]()

    def __call__(self, numbers: Sequence[int]) -> None:
        self.calls.append(list(numbers))
        self.clock.time += self.call_s + self.image_s * len(numbers)


@pytest.mark.parametrize(("percentile", "needed"), [(0.9, (44, 64, 127)), (0.99, (459, 662, 1307))])
def test_numbers_of_queries_are_those_of_mlperf(percentile: float, needed: tuple[int, ...]) -> None:
    assert tuple(queries_needed(slow, percentile) for slow in (0, 1, 5)) == needed


def test_a_percentile_holds_when_enough_queries_show_it() -> None:
    assert holds(0, 458, 0.99) is None
    assert holds(0, 459, 0.99) is True
    assert holds(1, 661, 0.99) is None
    assert holds(1, 662, 0.99) is True
    assert holds(3, 10, 0.99) is False
    assert holds(0, 1, 0.99) is None


def test_an_upper_estimate_is_rarely_below_the_percentile() -> None:
    source = random.Random(0)
    found = [upper_estimate([source.random() for _ in range(200)], 0.9) for _ in range(500)]
    below = sum(each is not None and each < 0.9 for each in found)
    assert None not in found
    assert below <= 0.02 * len(found)
    assert upper_estimate(range(63), 0.9) is None
    assert upper_estimate(range(64), 0.9) == 63
    assert upper_estimate(range(1000), 0.99) == 998


def test_percentiles_are_measured_latencies() -> None:
    assert percentile_of([5, 1, 4, 2, 3], 0.9) == 5
    assert percentile_of(range(1, 101), 0.99) == 99
    assert percentile_of([7], 0.5) == 7


def test_a_stream_sends_one_query_after_the_other() -> None:
    clock = SimulatedClock()
    model = Model(clock, 0.01, 0.001)
    found = single_stream(model, 3, Length(seconds=0.1, warmup=2), clock)
    assert (found.percentile, found.images) == (0.9, 1)
    assert found.queries == 64  # more than in 0.1 s, since the percentile needs them
    assert found.latency_ms == pytest.approx(11)
    assert found.bound_ms == pytest.approx(11)
    assert model.calls[:4] == [[0], [1], [2], [0]]
    assert len(model.calls) == 66
    several = multi_stream(model, 3, Length(seconds=0.1), clock)
    assert (several.percentile, several.images, several.queries) == (0.99, 8, 662)
    assert several.latency_ms == pytest.approx(18)
    short = multi_stream(model, 3, Length(seconds=0.1, most_s=0.2), clock)
    assert short.queries < 20
    assert short.bound_ms is None


def test_offline_counts_images() -> None:
    clock = SimulatedClock()
    found = offline(Model(clock, 0.02, 0.001), 5, 16, Length(seconds=10), clock)
    assert found.images_per_second == pytest.approx(16 / 0.036)
    assert found.images >= 10 / 0.036 * 16
    assert offline(Model(clock, 100), 5, 4, Length(seconds=1), clock).images == 12


def waiting_time_cdf(rate: float, service_s: float, wait_s: float) -> float:
    """Probability that a query waits at most `wait_s` if arrivals are random and service takes a fixed time (M/D/1; Erlang, 1909)."""
    terms = (
        (rate * (k * service_s - wait_s)) ** k / math.factorial(k) * math.exp(-rate * (k * service_s - wait_s))
        for k in _upto(wait_s, service_s)
    )
    return (1 - rate * service_s) * sum(terms)


def _upto(wait_s: float, service_s: float) -> range:
    return range(int(wait_s / service_s) + 1)


def highest_rate(service_s: float, bound_s: float) -> float:
    low, high = 0.0, 1 / service_s
    for _ in range(40):
        rate = (low + high) / 2
        low, high = (rate, high) if waiting_time_cdf(rate, service_s, bound_s - service_s) >= 0.99 else (low, rate)
    return low


@pytest.mark.parametrize(("service_s", "bound_s"), [(0.01, 0.03), (0.01, 0.055), (0.02, 0.2)])
def test_a_known_service_time_gives_the_known_highest_rate(service_s: float, bound_s: float) -> None:
    clock = SimulatedClock()
    found = server(Model(clock, service_s), 10, 1000 * bound_s, 1, LONG, clock)
    assert found.rate == pytest.approx(highest_rate(service_s, bound_s), rel=0.05)
    assert found.latency_ms is not None
    assert found.latency_ms <= 1000 * bound_s
    assert found.queries >= found.rate * 200 * 0.95


def test_waiting_queries_are_computed_together() -> None:
    clock = SimulatedClock()
    alone = server(Model(clock, 0.01), 10, 50, 1, LONG, clock)
    model = Model(clock, 0.01)
    together = server(model, 10, 50, 8, LONG, clock)
    assert together.rate > 3 * alone.rate
    assert max(map(len, model.calls[3:])) == 8


def test_a_model_that_is_slower_than_the_bound_has_no_rate() -> None:
    clock = SimulatedClock()
    found = server(Model(clock, 0.1), 10, 50, 1, Length(seconds=5, most_s=100), clock)
    assert (found.rate, found.latency_ms, found.queries) == (0.0, None, 0)
    assert found.rates < 20


def test_latency_counts_from_the_time_at_which_a_query_was_due() -> None:
    clock = SimulatedClock()

    def stalling(numbers: Sequence[int]) -> None:
        clock.time += 2.0 if 50 < clock.time < 52 else 0.001

    from_due = [latency for each in serve(stalling, 10, 100.0, 1, 100.0, clock, 0) for latency in each]
    assert percentile_of(from_due, 0.99) > 1.0, "a stall of 2 s delays 2 % of the queries of 100 s"
    clock.time, calls = 0.0, list[float]()
    while clock.time < 100:  # as a client measures that sends the next query after the answer: the stall is one query of many
        begun = clock.time
        stalling([0])
        calls.append(clock.time - begun)
    assert percentile_of(calls, 0.99) == pytest.approx(0.001)


def test_arrivals_are_random_and_repeatable() -> None:
    def gaps(seed: int) -> list[int]:
        clock = SimulatedClock()
        return [len(each) for each in serve(Model(clock, 0.05), 10, 50.0, 100, 50.0, clock, seed)]

    assert gaps(0) == gaps(0) != gaps(1)
    assert sum(gaps(0)) == pytest.approx(2500, rel=0.05)


def test_the_real_clock_waits() -> None:
    clock = RealClock()
    begun = clock.now()
    clock.sleep_until(begun + 0.003)
    clock.sleep_until(begun)  # has passed
    assert clock.now() >= begun + 0.003


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="seconds is 0; expected a number above 0"):
        single_stream(lambda numbers: None, 1, Length(seconds=0))
    with pytest.raises(InputError, match="bound_ms is -1; expected a number above 0"):
        server(lambda numbers: None, 1, -1)
    for names, bound in ((["server"], None), (["offline"], 10.0)):
        with pytest.raises(InputError, match=r"server_bound_ms.* belongs to the scenario server"):
            check_scenarios(names, bound)
    with pytest.raises(InputError, match=r"unknown scenario 'ofline'.*offline"):
        check_scenarios(["ofline"], None)


def test_scenarios_are_measured_by_name() -> None:
    clock = SimulatedClock()
    found = run_scenarios(("server", "offline", "single_stream"), Model(clock, 0.01), 5, 2, 40.0, Length(seconds=5, most_s=50), clock)
    assert list(found) == ["server", "offline", "single_stream"]
    assert found["offline"]["images_per_second"] == pytest.approx(200)
    assert found["single_stream"]["latency_ms"] == pytest.approx(10)
    assert 100 < found["server"]["rate"] < 200
    assert json.loads(json.dumps(found)) == found
