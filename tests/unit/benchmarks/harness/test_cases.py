"""Running each case in a new process: results, errors and crashes."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.benchmark_reports import CASE, FAILED, GOOD, MEASUREMENT, write_suite
from zoo.benchmarks.harness import bench as harness
from zoo.benchmarks.harness import case as case_process
from zoo.benchmarks.harness.bench import bench
from zoo.benchmarks.harness.child import run_in_child
from zoo.benchmarks.harness.report import Measurement, Report
from zoo.benchmarks.harness.scenarios import Length
from zoo.benchmarks.harness.suite import Case
from zoo.errors import UnknownNameError

ONE = Case("digits", "classification", "resnet20", "demo:digits", expect={"top1": 0.97})


def child(code: str) -> list[str]:
    return [sys.executable, "-c", f"import json, os, sys; job = json.load(open(sys.argv[1])); {code}"]


def test_a_case_is_handed_over_and_its_figures_come_back() -> None:
    outcome = json.dumps({"measurement": MEASUREMENT.to_dict()})
    code = f"assert job['case'] == {asdict(ONE)!r}; open(sys.argv[2], 'w').write({outcome!r})"
    report = run_in_child(ONE, child(code))
    assert (report.status, report.error, report.measurement) == ("ok", None, MEASUREMENT)
    assert report.seconds > 0


def test_a_case_that_reports_an_error_has_failed() -> None:
    report = run_in_child(ONE, child("open(sys.argv[2], 'w').write(json.dumps({'error': 'no such folder'}))"))
    assert (report.status, report.error, report.measurement) == ("failed", "no such folder", None)


def test_a_process_that_dies_is_reported_with_its_last_words() -> None:
    report = run_in_child(ONE, child("sys.exit('the disk is full')"))
    assert report.status == "failed"
    assert report.error == "the disk is full\nthe case's process ended with exit status 1 and without a result"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_process_that_is_killed_is_reported_with_the_signal() -> None:
    report = run_in_child(ONE, child("os.kill(os.getpid(), 9)"))
    assert report.error == "the case's process ended with signal SIGKILL (out of memory?) and without a result"


def test_the_real_child_reports_data_that_is_not_there() -> None:
    report = run_in_child(replace(ONE, test="folder:absent"))
    assert report.status == "failed"
    assert report.error is not None
    assert "data 'folder:absent': the folder absent does not exist" in report.error


def test_a_failed_case_does_not_stop_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_suite(tmp_path, CASE + CASE.replace('"a"', '"b"'))
    reports = {"a": replace(FAILED, name="a", error="broken"), "b": replace(GOOD, name="b")}
    monkeypatch.setattr(harness, "run_in_child", lambda case: reports[case.name])
    report = bench(path, out=tmp_path / "out")
    assert [case.status for case in report.cases] == ["failed", "ok"]
    assert not report.ok
    assert Report.read(tmp_path / "out" / "report.json").cases == report.cases
    printed = capsys.readouterr()
    assert "1/2 a: failed in 1 s: broken" in printed.err
    assert "2/2 b: ok in 20 s" in printed.err
    assert "0.9875" in printed.out
    bench(path, out=tmp_path / "out", quiet=True, cases=["b"])
    assert capsys.readouterr() == ("", "")


class StoppedError(Exception):
    """Raised instead of training."""


def test_the_seed_of_the_recipe_sets_the_initial_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Tensor] = []

    def train(model: Any, **arguments: Any) -> None:
        built.append(model.head.fc.weight.detach())
        raise StoppedError

    monkeypatch.setattr(case_process, "train", train)
    for state, seed in ((1, 0), (2, 0), (3, 7)):
        torch.manual_seed(state)
        with pytest.raises(StoppedError):
            case_process.run_case(
                Case("digits", "classification", "resnet20", "demo:digits", train="demo:digits", recipe={"seed": seed}), tmp_path
            )
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


def test_a_case_with_several_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_process, "_BUDGET_S", 0.01)
    data = {"digit": "demo:digits?limit=40", "again": "demo:digits?limit=30"}
    tasks = dict.fromkeys(data, "classification")
    case = Case(
        "two", tasks, "resnet20", data, train=data, options={"image_size": 32}, recipe={"epochs": 1, "min_samples": 1}, batch_size=4,
        scenarios=["offline", "single_stream"],
    )  # fmt: skip
    monkeypatch.setattr(case_process, "_LENGTH", Length(seconds=0.01, most_s=0.02, warmup=1))
    case_process.check_case(case)
    found = case_process.run_case(case, tmp_path)
    assert {"digit/top1", "again/top1"} <= {*found.scores}
    assert (found.n, found.throughput.batch_size) == (70, 4)
    assert {name: len(values) for name, values in found.replicates.items()} == {"again/top1": 200, "digit/top1": 200}
    assert {"digit/top1", "again/f1"} <= {*found.intervals}
    assert {*found.data_fingerprints} == {*data}
    assert list(found.scenarios) == ["offline", "single_stream"]
    assert found.scenarios["offline"]["images_per_second"] > 0
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))).scenarios == found.scenarios
    with pytest.raises(UnknownNameError, match="unknown option of the heads digit, again: 'drop_out'"):
        case_process.check_case(replace(case, options={"drop_out": 0.1}))
