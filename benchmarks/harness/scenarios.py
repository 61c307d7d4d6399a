"""The scenarios of MLPerf Inference: how queries arrive at a model, and which figure counts.

single_stream: one query with one image after the other; the 90th percentile of the latency.
multi_stream: one query with eight images after the other; the 99th percentile of the latency of a query.
offline: all images at once; images per second.
server: queries with one image arrive at random times (a Poisson process); the highest rate at which the 99th percentile of the latency
holds a bound. Latency counts from the time at which a query was due, so that a model that stalls can't hide the queries that it delays
("coordinated omission").

Rules: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc. Percentiles follow `stopping`. Differences: a run
is as long as the caller asks for, not 10 minutes, and the model is called by the thread that issues the queries.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from zoo.benchmarks.harness.stopping import holds, queries_needed, upper_estimate
from zoo.errors import InputError, UnknownNameError, check_positive

SCENARIOS = ("single_stream", "multi_stream", "offline", "server")
SINGLE_STREAM_PERCENTILE, TAIL_PERCENTILE = 0.90, 0.99
_MULTI_STREAM_IMAGES = 8
_PRECISION = 0.02  # of the highest rate, relative
_FEWEST_OFFLINE = 3  # calls
# A run with random arrivals lasts for so many times the bound: at a rate 2 % above the model's, queries then wait for twice the bound.
_BOUNDS_PER_RUN = 100
_HOPELESS = 10  # a query that takes so many times the bound ends the run

Call = Callable[[Sequence[int]], object]
"""A model: computes the images with these numbers, counted from 0, together, and returns when the answers are there."""


class Clock(Protocol):
    """The time in seconds."""

    def now(self) -> float:
        """Return the time."""

    def sleep_until(self, moment: float) -> None:
        """Wait until a time, which may have passed."""


class RealClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Return the time of `time.perf_counter`."""
        return time.perf_counter()

    def sleep_until(self, moment: float) -> None:
        """Wait until a time; the last millisecond is spent in a loop, because sleeping isn't exact."""
        if (left := moment - time.perf_counter()) > 0.001:
            time.sleep(left - 0.001)
        while time.perf_counter() < moment:
            pass


@dataclass(frozen=True)
class Length:
    """How long a scenario is measured.

    Attributes:
        seconds: seconds of a run.
        most_s: seconds after which a run ends even if it has too few queries for a percentile.
        warmup: calls before the run, which don't count.
    """

    seconds: float = 4.0
    most_s: float = 60.0
    warmup: int = 3


@dataclass(frozen=True)
class Stream:
    """Result of single_stream and multi_stream.

    Attributes:
        percentile: 0.90 or 0.99.
        images: images per query.
        queries: number of queries.
        latency_ms: the percentile of the measured latencies.
        bound_ms: latency that the percentile doesn't exceed, with a confidence of 99 %; None if there were too few queries.
    """

    percentile: float
    images: int
    queries: int
    latency_ms: float
    bound_ms: float | None


@dataclass(frozen=True)
class Offline:
    """Result of offline: images per second, and the number of images in the measured run."""

    images_per_second: float
    images: int


@dataclass(frozen=True)
class Server:
    """Result of server.

    Attributes:
        rate: highest rate in queries per second at which the 99th percentile of the latency holds the bound; 0 if there is none.
        bound_ms: the bound.
        latency_ms: 99th percentile of the latency at this rate; None if there is none.
        queries: queries at this rate.
        rates: number of rates that were tried.
    """

    rate: float
    bound_ms: float
    latency_ms: float | None
    queries: int
    rates: int


def percentile_of(latencies: Sequence[float], percentile: float) -> float:
    """Return the smallest latency that at least this share of the latencies doesn't exceed: always one that was measured."""
    return sorted(latencies)[max(0, math.ceil(percentile * len(latencies)) - 1)]


def single_stream(call: Call, images: int, length: Length = Length(), clock: Clock | None = None) -> Stream:
    """Measure the latency of one image after the other.

    Args:
        call: the model.
        images: number of images that `call` can compute; they are used in turn.
        length: how long to measure.
        clock: the clock; None for the real one.
    """
    return _stream(call, images, 1, SINGLE_STREAM_PERCENTILE, length, clock or RealClock())


def multi_stream(call: Call, images: int, length: Length = Length(), clock: Clock | None = None) -> Stream:
    """Measure the latency of one query with eight images after the other. The arguments are those of `single_stream`."""
    return _stream(call, images, _MULTI_STREAM_IMAGES, TAIL_PERCENTILE, length, clock or RealClock())


def _stream(call: Call, images: int, size: int, percentile: float, length: Length, clock: Clock) -> Stream:
    check_positive("scenario", images=images, seconds=length.seconds)
    numbers = _groups(images, size)
    for _ in range(length.warmup):
        call(next(numbers))
    latencies, start, needed = list[float](), clock.now(), queries_needed(1, percentile)
    while (now := clock.now() - start) < length.seconds or (len(latencies) < needed and now < length.most_s):
        group, begun = next(numbers), clock.now()
        call(group)
        latencies.append(clock.now() - begun)
    bound = upper_estimate(latencies, percentile)
    latency = percentile_of(latencies, percentile)
    return Stream(percentile, size, len(latencies), 1000 * latency, None if bound is None else 1000 * bound)


def offline(call: Call, images: int, batch: int, length: Length = Length(), clock: Clock | None = None) -> Offline:
    """Measure the images per second if all images are there from the beginning. The model is called with `batch` images at a time."""
    check_positive("scenario", images=images, batch=batch, seconds=length.seconds)
    clock, numbers = clock or RealClock(), _groups(images, batch)
    for _ in range(length.warmup):
        call(next(numbers))
    start, count = clock.now(), 0
    while clock.now() - start < length.seconds or count < _FEWEST_OFFLINE * batch:
        call(next(numbers))
        count += batch
    return Offline(count / (clock.now() - start), count)


def server(
    call: Call, images: int, bound_ms: float, batch: int = 1, length: Length = Length(), clock: Clock | None = None, seed: int = 0
) -> Server:
    """Find the highest rate of random arrivals at which the 99th percentile of the latency holds a bound.

    Rates are tried by bisection, from the rate at which the model computes without a pause. A rate holds the bound if this is shown with a
    confidence of 99 %, and doesn't if the opposite is, or if it is undecided after `length.most_s` seconds (at least twice
    the shortest time).

    Args:
        call: the model.
        images: number of images that `call` can compute; they are used in turn.
        bound_ms: bound on the latency in milliseconds.
        batch: largest number of waiting queries that are computed together.
        length: how long to measure; `seconds` is the shortest time at one rate, which is at least 100 times the bound.
        clock: the clock; None for the real one.
        seed: seed of the arrival times.
    """
    check_positive("scenario", images=images, batch=batch, bound_ms=bound_ms, seconds=length.seconds)
    clock = clock or RealClock()
    low, high, best, tried = 0.0, offline(call, images, batch, length, clock).images_per_second, None, 0
    while high - low > _PRECISION * high:
        # the first rate is lower by far than most limits; if even this fails, lower ones are tried until a query is alone
        rate = (low + high) / 2
        latencies = _arrivals(call, images, rate, bound_ms / 1000, batch, length, clock, seed + tried)
        tried += 1
        if latencies is not None:
            low, best = rate, latencies
        else:
            high = rate
        if best is None and high * bound_ms / 1000 < 1 / queries_needed(0, TAIL_PERCENTILE):
            break  # queries hardly ever meet another one: the model itself is slower than the bound
    if best is None:
        return Server(0.0, bound_ms, None, 0, tried)
    return Server(low, bound_ms, 1000 * percentile_of(best, TAIL_PERCENTILE), len(best), tried)


def _arrivals(
    call: Call, images: int, rate: float, bound_s: float, batch: int, length: Length, clock: Clock, seed: int
) -> list[float] | None:
    """Return the latencies at a rate, or None if their 99th percentile exceeds the bound."""
    latencies, slow = list[float](), 0
    least = max(length.seconds, _BOUNDS_PER_RUN * bound_s)
    for several in serve(call, images, rate, batch, max(length.most_s, 2 * least), clock, seed):
        latencies += several
        slow += sum(latency > bound_s for latency in several)
        if several[0] > _HOPELESS * bound_s:
            return None
        # not earlier, because slow queries come together, and would decide too soon
        if len(latencies) / rate >= least and (verdict := holds(slow, len(latencies), TAIL_PERCENTILE)) is not None:
            return latencies if verdict else None
    return None


def serve(call: Call, images: int, rate: float, batch: int, seconds: float, clock: Clock, seed: int) -> Iterator[list[float]]:
    """Let queries arrive at random times, compute them in order, and yield the latencies in seconds of the queries of each call.

    The latency of a query counts from the time at which it was due.

    Args:
        call: the model.
        images: number of images, which are used in turn.
        rate: queries per second.
        batch: largest number of waiting queries that are computed together.
        seconds: time after which no further queries arrive.
        clock: the clock.
        seed: seed of the arrival times.
    """
    source, number = random.Random(seed), 0
    start = clock.now()
    due = start + source.expovariate(rate)
    while due - start < seconds:
        clock.sleep_until(due)
        waiting, now = list[float](), clock.now()
        while due <= now and len(waiting) < batch:
            waiting.append(due)
            due += source.expovariate(rate)
        call([(number + place) % images for place in range(len(waiting))])
        number += len(waiting)
        done = clock.now()
        yield [done - each for each in waiting]


def _groups(images: int, size: int) -> Iterator[list[int]]:
    """Yield the numbers of `size` images at a time, in turn."""
    number = 0
    while True:
        yield [(number + place) % images for place in range(size)]
        number += size


def check_scenarios(names: Sequence[str], server_bound_ms: float | None) -> None:
    """Raise an `InputError` if a scenario is unknown, or if `server_bound_ms` is missing for server or set without it."""
    for name in names:
        if name not in SCENARIOS:
            raise UnknownNameError("scenario", name, SCENARIOS)
    if ("server" in names) != (server_bound_ms is not None):
        raise InputError(
            "server_bound_ms, the bound on the 99th percentile of the latency, belongs to the scenario server: set both or none"
        )


def run_scenarios(
    names: Sequence[str],
    call: Call,
    images: int,
    batch: int,
    server_bound_ms: float | None = None,
    length: Length = Length(),
    clock: Clock | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure scenarios, and return their results as JSON-compatible values by name.

    Args:
        names: names of scenarios.
        call: the model.
        images: number of images that `call` can compute.
        batch: largest number of images in a call of offline and server.
        server_bound_ms: bound on the 99th percentile of the latency in server.
        length: how long to measure.
        clock: the clock; None for the real one.
    """
    runs: dict[str, Callable[[], Stream | Offline | Server]] = {
        "single_stream": lambda: single_stream(call, images, length, clock),
        "multi_stream": lambda: multi_stream(call, images, length, clock),
        "offline": lambda: offline(call, images, batch, length, clock),
        "server": lambda: server(call, images, server_bound_ms or 0.0, batch, length, clock),
    }
    return {name: asdict(runs[name]()) for name in names}
