"""The benchmark beside busy processes: they compute, all states are measured, and the verdict depends on the ratios."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import torch

from zoo.benchmarks import busy_machine
from zoo.benchmarks.busy_machine import Row, busy, main, measure, seconds_of, works


def test_busy_processes_compute_and_end() -> None:
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    with busy(2):
        started = [child for child in me.children() if child.pid not in before]
        assert len(started) == 2
        first = [sum(child.cpu_times()[:2]) for child in started]
        time.sleep(0.3)
        assert all(sum(child.cpu_times()[:2]) > used for child, used in zip(started, first, strict=True))
    assert not any(child.is_running() for child in started)


def test_short_work_is_repeated_and_a_training_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(torch.get_num_threads())
        time.sleep(0.01)

    monkeypatch.setattr(busy_machine, "_LEAST_S", 0.05)
    assert 0.01 <= seconds_of(work, 1, once=False) < 0.05
    assert len(calls) > 2
    calls.clear()
    assert seconds_of(work, None, once=True) >= 0.01
    assert len(calls) == 1


def test_every_kind_of_work_is_measured_in_every_state(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(busy_machine, "_LEAST_S", 0.01)
    monkeypatch.setattr(busy_machine, "works", lambda scratch, pictures: dict.fromkeys("abc", lambda: lambda: asked.append(pictures)))
    rows = measure("ac", 1, 30)
    assert [row.name for row in rows] == ["a", "c"]
    for row in rows:
        for side in (row.adaptive_s, row.constant_s):
            assert {count: len(times) for count, times in side.items()} == {0: 1, 1: 1, 2: 1}
            assert all(seconds > 0 for times in side.values() for seconds in times)
    assert set(asked) == {30}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classification", "detection", "training"])
def test_the_work_is_real(name: str, tmp_path: Path) -> None:
    work = works(tmp_path, 30)[name]()
    assert seconds_of(work, 1, once=True) > 0.001


def test_times_on_a_quiet_machine_are_compared_with_their_neighbours() -> None:
    row = Row("classification", {0: [1.0, 5.0, 2.0], 1: [2.0], 2: []}, {0: [1.0, 4.0, 4.0], 1: [], 2: []})
    assert (row.quiet_ratio, row.ratio) == (1.0, 1.0)


@pytest.mark.parametrize(("beside_one", "status"), [(0.29, 0), (0.31, 1)])
def test_the_exit_status_depends_on_the_ratio(
    beside_one: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("classification", {0: [0.1], 1: [beside_one], 2: [0.5]}, {0: [0.1], 1: [2.0], 2: [3.0]})
    monkeypatch.setattr(busy_machine, "measure", lambda *arguments: [row])
    assert main([]) == status
    printed = capsys.readouterr().out
    assert f"{1000 * beside_one:.4g} (2000)" in printed
    assert ("not met" in printed) == bool(status)
