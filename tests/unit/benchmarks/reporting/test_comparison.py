"""Comparison of two reports, and confirmation of regressions by further runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmark_reports import FAILED, GOOD, MEASUREMENT
from zoo.benchmarks.harness.report import CaseReport, Measurement, Report, Throughput, Timing
from zoo.benchmarks.harness.suite import Case
from zoo.benchmarks.reporting import confirmation
from zoo.benchmarks.reporting.comparison import compare_reports, ratio_interval, read_side
from zoo.benchmarks.reporting.confirmation import confirm
from zoo.cli.main import main
from zoo.errors import InputError

MACHINE = {"cpu": "a processor", "cores": 2, "memory_mib": 8000}
CASE = Case("digits", "classification", "resnet20", "demo:digits")


def measured(factor: float = 1.0, drop: float = 0.0, seed: int = 0, **others: Any) -> Measurement:
    """Return figures with noise of 2 %, of a model that is slower by a factor, and whose top1 is lower by `drop`."""
    generator = np.random.default_rng(seed)
    blocks = tuple((3.5 * factor * generator.lognormal(0, 0.02, 40)).tolist())
    draws = tuple((0.9 - drop + np.random.default_rng(9).normal(0, 0.03, 200) + generator.normal(0, 0.003, 200)).tolist())
    return replace(
        MEASUREMENT,
        scores={"top1": 0.9 - drop, "top5": 1.0 - drop, "f1": None},
        latency=Timing(float(np.median(blocks)), 4.0, 100, blocks),
        throughput=Throughput(16, 16_000 / float(np.median(blocks)), blocks),
        replicates={"top1": draws},
        data_fingerprints={"": "the data"},
        **others,
    )


def report(measurement: Measurement | None, code: str = "code", **others: Any) -> Report:
    case = replace(GOOD, expect={}, settings=asdict(CASE), measurement=measurement, error=None if measurement else "out of memory")
    return Report("quick", "2026-12-01T00:00:00+00:00", 42.0, MACHINE, (replace(case, **others),), {"fingerprint": code})


def verdicts(old: Report, new: Report) -> dict[str, str]:
    return {change.figure: change.verdict for change in compare_reports(old, new).changes}


def test_noise_is_no_change() -> None:
    alarms = [compare_reports(report(measured(seed=seed)), report(measured(seed=100 + seed))) for seed in range(20)]
    assert sum(not found.ok for found in alarms) <= 1


def test_planted_regressions_are_found() -> None:
    slower = [verdicts(report(measured(seed=seed)), report(measured(1.1, seed=100 + seed))) for seed in range(20)]
    assert sum(found["latency_ms"] == found["images_per_second"] == "worse" for found in slower) >= 19
    lower = [verdicts(report(measured(seed=seed)), report(measured(drop=0.02, seed=100 + seed))) for seed in range(20)]
    assert [found["top1"] for found in lower] == ["worse"] * 20
    better = verdicts(report(measured(1.1, drop=0.02)), report(measured(peak_memory_mib=500.0)))
    assert better == {"top1": "better", "latency_ms": "better", "images_per_second": "better", "peak_memory_mib": "better"}


def test_a_ratio_has_an_interval() -> None:
    low, high = ratio_interval(measured().latency.blocks_ms, measured(1.1, seed=1).latency.blocks_ms) or (0, 0)
    assert 1.07 < low < 1.1 < high < 1.13
    assert ratio_interval([1.0] * 4, [1.0] * 40) is None


def test_scores_without_paired_replicates_are_compared_by_their_intervals() -> None:
    for drop, verdict in ((0.01, "same"), (0.05, "worse"), (-0.05, "better")):
        sides = [
            replace(measured(drop=by), intervals={"top1": (0.87 - by, 0.93 - by)}, data_fingerprints={"": name})
            for by, name in ((0.0, "a"), (drop, "b"))
        ]
        assert verdicts(*map(report, sides))["top1"] == verdict
    found = compare_reports(*map(report, sides))
    assert any("the data differs between the reports" in note for note in found.notes)
    bare = [replace(measured(drop=drop), replicates={}) for drop in (0.0, 0.01)]
    assert verdicts(*map(report, bare))["top5"] == "worse"
    undefined = replace(measured(), replicates={"top1": (float("nan"),) * 200})
    assert compare_reports(report(undefined), report(undefined)).changes[0].interval is None


def test_speeds_of_different_machines_are_not_compared() -> None:
    other = replace(report(measured(1.5, drop=0.02)), machine={**MACHINE, "cpu": "another"})
    found = compare_reports(report(measured()), other)
    assert [change.figure for change in found.changes] == ["top1"]
    assert found.notes == ("speeds and memory are not compared, because the machines differ: cpu a processor and another",)


def test_a_case_that_fails_now_has_become_worse() -> None:
    found = compare_reports(report(measured()), report(None))
    assert (found.ok, found.failures) == (False, {"digits": "failed: out of memory"})
    missed = compare_reports(report(measured()), report(measured(), expect={"top1": 0.95}))
    assert missed.failures == {"digits": "top1 is 0.9000, expected at least 0.95"}
    assert compare_reports(report(measured(), expect={"top1": 0.95}), report(measured(), expect={"top1": 0.95})).ok
    assert compare_reports(report(None), report(None)).notes == (
        "digits is not compared: it is failed in the old report and failed in the new one",
    )


def test_cases_in_one_report_only_are_named() -> None:
    old = replace(report(measured()), cases=(*report(measured()).cases, FAILED))
    new = replace(report(measured()), cases=(replace(FAILED, name="b"), *report(measured(), settings={"engine": "x"}).cases))
    assert compare_reports(old, new).notes[:2] == ("faces is only in the old report", "b is only in the new report")
    assert "digits: the settings differ between the reports" in compare_reports(old, new).notes[2]
    with pytest.raises(InputError, match="the reports have no case in common: faces, and b"):
        compare_reports(replace(old, cases=old.cases[1:]), replace(new, cases=new.cases[:1]))


class Runs:
    """Stands in for processes: returns figures by side, which the environment tells apart."""

    def __init__(self, old: list[float], new: list[float], drop: float = 0.0) -> None:
        self.factors, self.drop, self.order = {"old": old, "new": new}, drop, list[str]()

    def __call__(self, case: Case, environment: Mapping[str, str]) -> CaseReport:
        side = "old" if environment else "new"
        self.order.append(side)
        factor = self.factors[side][self.order.count(side) - 1]
        found = None if np.isnan(factor) else measured(factor, self.drop if side == "new" else 0.0, seed=len(self.order))
        return replace(GOOD, measurement=found, error=None if found else "no memory")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "base" / "zoo").mkdir(parents=True)
    (tmp_path / "base" / "zoo" / "__init__.py").touch()
    monkeypatch.setattr(confirmation, "code_fingerprint", lambda: "code")
    monkeypatch.setattr(confirmation, "describe_machine", lambda: MACHINE)
    return tmp_path / "base"


def confirmed(old: Report, new: Report, runs: Runs, checkout: Path | None, rounds: int = 4) -> list[str]:
    found = confirm(compare_reports(old, new), old, new, old_code=checkout, rounds=rounds, run=runs)
    return [change.figure for change in found.regressions]


def test_a_regression_that_appears_again_is_confirmed(checkout: Path) -> None:
    old, new = report(measured(), code="before"), report(measured(1.1, seed=1))
    runs = Runs([1.0, 1.4, 0.9, 1.0], [1.1, 1.55, 1.0, 1.1])
    assert confirmed(old, new, runs, checkout) == ["latency_ms", "images_per_second"]
    assert runs.order == ["old", "new", "new", "old"] * 2


def test_a_phase_of_load_is_no_regression(checkout: Path) -> None:
    old, new = report(measured(), code="before"), report(measured(1.4, seed=1))
    runs = Runs([1.0] * 4, [1.05, 0.97, 0.95, 1.0])
    assert confirmed(old, new, runs, checkout, rounds=10) == []
    assert len(runs.order) == 8, "further rounds aren't needed"
    assert confirmed(old, new, Runs([1.0] * 10, [1.01] * 10), checkout, rounds=10) == [], "less than 3 %"
    assert confirmed(old, new, Runs([1.0] * 4, [1.3, 0.9, 1.2, 0.95]), checkout, rounds=4) == [], "not sure in the last round"
    assert confirmed(old, new, Runs([1.0], [1.1]), checkout, rounds=1) == ["latency_ms", "images_per_second"]


def test_a_slowdown_that_may_be_noise_is_measured_again(checkout: Path) -> None:
    noisy = replace(measured(1.08, seed=1), latency=Timing(3.8, 4.0, 100, (2.0, 6.0) * 20), throughput=MEASUREMENT.throughput)
    old, new = report(replace(measured(), throughput=MEASUREMENT.throughput), code="before"), report(noisy)
    assert compare_reports(old, new).ok
    assert confirmed(old, new, Runs([1.0] * 4, [1.08] * 4), checkout) == ["latency_ms"]


def test_a_lower_score_is_confirmed(checkout: Path) -> None:
    old, new = report(measured(), code="before"), report(measured(drop=0.02, seed=1))
    assert confirmed(old, new, Runs([1.0] * 2, [1.0] * 2, drop=0.02), checkout, rounds=2) == ["top1"]
    assert confirmed(old, new, Runs([1.0] * 2, [1.0] * 2), checkout, rounds=2) == []


def test_without_its_code_the_old_side_is_the_report(checkout: Path) -> None:
    old, new = report(measured(), code="before"), report(measured(1.1, seed=1))
    runs = Runs([], [1.1, float("nan")])
    found = confirm(compare_reports(old, new), old, new, rounds=2, run=runs)
    assert runs.order == ["new", "new"]
    assert "compared with the figures of the old report" in found.notes[-1]
    assert not found.ok, "a run that fails refutes nothing"


def test_reports_of_other_code_or_machines_are_not_confirmed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = report(measured()), report(measured(1.1, seed=1), code="other")
    found = confirm(compare_reports(old, new), old, new, run=Runs([], []))
    assert "not confirmed by another run: the new report was made with other code" in found.notes[-1]
    assert not found.ok
    monkeypatch.setattr(confirmation, "describe_machine", lambda: {})
    new = report(measured(1.1, seed=1))
    assert "made on another machine" in confirm(compare_reports(old, new), old, new, run=Runs([], [])).notes[-1]


def test_wrong_settings_of_a_confirmation(tmp_path: Path) -> None:
    found = compare_reports(report(measured()), report(measured()))
    with pytest.raises(InputError, match="rounds is 0; expected a whole number above 0"):
        confirm(found, report(measured()), report(measured()), rounds=0)
    with pytest.raises(InputError, match=r"--old-code .* contains no zoo/__init__\.py; expected a checkout"):
        confirm(found, report(measured()), report(measured()), old_code=tmp_path)
    with pytest.raises(InputError, match=r"absent does not exist; expected the output folder of zoo bench"):
        read_side(tmp_path / "absent")


def test_the_command_prints_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    report(measured()).write(tmp_path / "old")
    report(measured(1.1, drop=0.02, seed=1), expect={"top1": 0.89}).write(tmp_path / "new")
    words = ["bench", "compare", str(tmp_path / "old"), str(tmp_path / "new" / "report.json"), "--no-confirm"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "worse   latency_ms         3.49" in printed
    assert "worse   top1               0.9000 → 0.8800  -0.0200 (" in printed
    assert "worse   top1 is 0.8800, expected at least 0.89" in printed
    assert "1 figure of 1 case unchanged" in printed
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert main(["bench", "compare", str(tmp_path / "old"), str(tmp_path / "old"), "--all"]) == 0
    assert "same    peak_memory_mib" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    assert "\ncommands:\n  compare   compare two reports" in capsys.readouterr().out
