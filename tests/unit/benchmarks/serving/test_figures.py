"""The arithmetic of the serving benchmark, with figures worked out by hand."""

from __future__ import annotations

import importlib.util
import json
import math
from typing import Any

import pytest

from zoo.benchmarks.serving.__main__ import main
from zoo.benchmarks.serving.figures import Figure, drift, largest_difference, outage
from zoo.benchmarks.serving.load import Load, LoadError, Sample, percentile
from zoo.benchmarks.serving.rows import overload_figures, throughput_figures

ANSWER = {"key": "a.jpg", "label": 1, "probability": 0.5, "top": [{"name": "x", "probability": 0.5}]}


def load(*samples: tuple[float, float, int], begun: int | None = None, wall_s: float = 10.0) -> Load:
    """Return a load that began at 100 s, with requests (seconds after that, duration, status)."""
    several = [Sample(100 + start, seconds, status) for start, seconds, status in samples]
    return Load(100.0, wall_s, 2.5, len(several) if begun is None else begun, several)


def test_percentiles_are_measured_values() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([3.0], 99) == 3.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0


def test_only_pictures_that_are_answered_in_time_count() -> None:
    found = load((0.5, 0.2, 200), (1.0, 1.0, 200), (3.0, 1.0, 200), (4.0, 0.1, 429), (9.9, 0.5, 200))
    assert found.rate(warm_s=2.0) == 2 / 8, "answers after 2 and 4 s; one before, one refused, one after the end"
    assert found.cores == 0.25
    assert found.statuses == {200: 4, 429: 1}


def test_requests_without_a_proper_answer() -> None:
    assert load((0, 1, 200), (1, 1, 429), (2, 1, 503)).unanswered == 0
    assert load((0, 1, 200), (1, 60, 0)).unanswered == 1, "the connection was lost"
    assert load((0, 1, 200), (1, 1, 500)).unanswered == 1
    assert load((0, 1, 200), begun=3).unanswered == 2, "requests that never ended"


def test_times_by_status_after_the_warm_up() -> None:
    found = load((0.5, 9.0, 200), (2.0, 0.25, 200), (3.0, 0.5, 200), (4.0, 0.001, 429), (5.0, 0.002, 503))
    assert found.milliseconds(warm_s=1.0) == [250, 500]
    assert found.milliseconds((429, 503)) == [1, 2]
    with pytest.raises(LoadError, match=r"no request was answered with 404; answers by status: \{200: 3, 429: 1, 503: 1\}"):
        found.milliseconds((404,))


def test_bounds_on_both_sides() -> None:
    assert Figure("", 1.3, 1.3, "", least=True).met
    assert not Figure("", 1.29, 1.3, "", least=True).met
    assert Figure("", 2.0, 2.0, "").met
    assert not Figure("", 2.01, 2.0, "").met
    assert not Figure("", math.inf, 2.0, "").met
    assert not Figure("", math.nan, 2.0, "").met


def test_memory_counts_after_the_warm_up() -> None:
    requests = load(*[(number, 0.5, 200) for number in range(10)])
    sizes = [(100.0, 50.0), (104.0, 90.0), (104.6, 100.0), (107.0, 104.0), (109.0, 97.0)]
    assert drift(sizes, requests, warm=5) == (100.0, 0.04), "the fifth request ends after 4.5 s"
    assert drift([(100.0, 50.0)], requests, warm=5) == (50.0, 0.0)
    assert drift([*sizes[:3], (105.0, 80.0)], requests, warm=5)[1] == 0.2


def test_the_outage_after_a_kill() -> None:
    states = [(9.0, False), (9.9, True), (10.1, True), (10.3, False), (11.0, False), (12.5, True), (13.0, False)]
    gone, back = outage(states, killed=10.0)
    assert (gone, back) == pytest.approx((0.3, 2.5))
    assert outage(states[:5], killed=10.0)[1] == math.inf
    assert outage(states[:3], killed=10.0) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({}, 0.0),
        ({"probability": 0.5 + 2e-6}, 2e-6),
        ({"top": [{"name": "x", "probability": 0.25}]}, 0.25),
        ({"top": [{"name": "y", "probability": 0.5}]}, math.inf),
        ({"top": []}, math.inf),
        ({"label": 2}, math.inf),
        ({"further": 1}, math.inf),
    ],
)
def test_differences_between_answers(changes: dict[str, Any], difference: float) -> None:
    bodies = [json.dumps({"predictions": [answer]}).encode() for answer in (ANSWER, {**ANSWER, **changes})]
    assert largest_difference({"a.jpg": bodies}, {"a.jpg": {**ANSWER, "key": "/photos/a.jpg"}}) == pytest.approx(difference)


def test_an_answer_with_too_few_predictions_differs() -> None:
    assert largest_difference({"a.jpg": [b'{"predictions": []}']}, {"a.jpg": ANSWER}) == math.inf


def test_the_figures_of_an_overload() -> None:
    accepted = [(2.0, 0.3, 200)] * 98 + [(2.0, 0.5, 200)] * 2
    flood = load((0.0, 9.0, 200), (0.0, 9.0, 429), *accepted, *[(3.0, 0.004, 429)] * 99, (3.0, 0.2, 503), begun=250)
    answered, refused, ratio = overload_figures(flood, before_ms=200.0, warm_s=1.0, capacity=5.0)
    assert (answered.value, answered.met) == (100 * 202 / 250, False)
    assert "25 requests per second (5.0 × the capacity)" in answered.note
    assert (refused.value, refused.met) == (4.0, True), "99 of 100 refusals take 4 ms"
    assert "largest 200 ms" in refused.note
    assert (ratio.value, ratio.met) == (2.5, False), "p99 is 500 ms"
    assert len(overload_figures(load((2, 0.1, 200)), 100.0, 1.0, 5.0)) == 2, "nothing was refused"


def test_the_throughput_is_compared_within_each_round() -> None:
    rounds = [(100.0, 95.0, 50.0), (10.0, 8.0, 8.0), (50.0, 45.0, 30.0)]  # a machine whose speed changes
    rates = [dict(zip(("zoo predict", "zoo serve", "LitServe"), each, strict=True)) for each in rounds]
    share, times = throughput_figures(rates, 16)
    assert share.value == pytest.approx(90)
    assert share.met
    assert times.value == 1.5
    assert share.note == "medians: zoo predict 50.0/s, zoo serve 45.0/s, LitServe 30.0/s"


@pytest.mark.parametrize(
    ("absent", "row", "message"),
    [
        ("locust", "memory", "serving: Locust must be installed to measure the server: pip install 'resnet-zoo[dev]'"),
        ("litserve", "throughput", "serving: LitServe must be installed"),
    ],
)
def test_missing_packages_are_named(
    absent: str, row: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == absent else find(name, package))
    assert main(["--only", row]) == 2
    assert message in capsys.readouterr().err
