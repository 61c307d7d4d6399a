"""The benchmark of verification: ratios of neighbouring calls, the verdict, and a quick run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zoo.benchmarks import artefacts
from zoo.benchmarks.artefacts import Row, interval_of_median, main, rows_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_ratio_is_the_median_of_neighbouring_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"load": iter([9.0, 2.0, 30.0, 4.0]), "verify": iter([1.0, 1.0, 3.0, 0.4])}
    order: list[Any] = []

    def timed(call: Any) -> tuple[None, float]:
        order.append(call)
        return None, next(clock[call])

    monkeypatch.setattr(artefacts, "timed", timed)
    load: Any = "load"
    operation: Any = "verify"
    (row,) = rows_of(load, {"verify": (operation, 0.1)}, 3)
    assert (row.time_ms, row.load_ms, row.ratio, row.met) == (1000, 4000, 0.1, True)
    assert order == ["load", "verify", "verify", "load"] * 2, "the first round is a warm-up"
    assert row.interval == (0.1, 0.5)
    assert interval_of_median([float(number) for number in range(31)]) == (9, 21)
    assert not Row("verify", 1.1, 10.0, 0.11, (0.1, 0.12), 0.1).met
    assert Row("load", 20.0, 10.0, 2.0, (2.0, 2.0), None).met


def test_a_quick_run(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--backbone", "test_resnet", "--rounds", "1", "--threads", "1", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert status == (0 if content["met"] else 1)
    assert [row["operation"] for row in content["rows"]] == ["zoo.verify", 'zoo.load(trust="enforce")', "zoo.load(identity=…)"]
    assert all(row["time_ms"] > 0 for row in content["rows"])
