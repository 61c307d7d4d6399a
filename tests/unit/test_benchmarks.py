"""Suites, timing, the child processes and reports: everything of the harness that needs no training."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

from zoo.benchmarks import harness, machine
from zoo.benchmarks.harness import bench, run_in_child
from zoo.benchmarks.measurement import Measurement, Throughput
from zoo.benchmarks.report import CaseReport, Report
from zoo.benchmarks.suite import Case, list_suites, read_suite
from zoo.benchmarks.timing import Timing, measure, percentile
from zoo.errors import InputError, UnknownNameError

CASE = '[[case]]\nname = "a"\ntask = "classification"\nbackbone = "resnet20"\ntest = "demo:digits"\n'
MEASUREMENT = Measurement(
    scores={"top1": 0.9875, "top5": 1.0, "f1": None},
    n=360,
    skipped=1,
    train_seconds=12.25,
    eval_seconds=0.5,
    eval_images_per_second=720.0,
    latency=Timing(3.5, 4.25, 100),
    throughput=Throughput(16, 900.0),
    parameters=272474,
    peak_memory_mib=612.5,
)
GOOD = CaseReport("digits", "classification", "resnet20", "demo:digits", 20.5, {"top1": 0.97}, MEASUREMENT)
FAILED = CaseReport("faces", "face", "resnet18", "demo:faces", 1.0, {}, None, "Traceback:\n[Errno 2] no such file")
REPORT = Report("quick", "2026-11-23T20:00:00+00:00", 42.0, {"cpu": "a processor", "cores": 2}, (GOOD, FAILED))


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


# -- suites ------------------------------------------------------------------------------------------------------------


def test_the_quick_suite_covers_the_three_tasks() -> None:
    suite = read_suite("quick")
    assert [(case.name, case.task) for case in suite.cases] == [("digits", "classification"), ("scenes", "detection"), ("faces", "face")]
    assert suite.cases[0].expect == {"top1": 0.97}
    assert suite.cases[1].expect == {"AP50": 0.80}


def test_a_suite_of_ones_own_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 'description = "mine"\n' + CASE + 'train = "demo:digits"\nrecipe = { steps = 5 }\nexpect = { top1 = 1 }\n')
    suite = read_suite(str(path))
    assert (suite.name, suite.description) == ("own", "mine")
    assert suite.cases == (
        Case("a", "classification", "resnet20", "demo:digits", train="demo:digits", recipe={"steps": 5}, expect={"top1": 1}),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CASE + 'backbon = "x"', r"unknown key in suite .*own\.toml: case 1 \(a\): 'backbon'\. Nearest: backbone"),
        ("cases = 1\n" + CASE, r"unknown key in the suite .*own\.toml: 'cases'\. Nearest: case"),
        ('[[case]]\nname = "a"', r"case 1 \(a\): task, backbone, test are missing"),
        ('[[case]]\nname = "a"\ntask = "face"\nbackbone = "b"', r"case 1 \(a\): test is missing"),
        (CASE + "weights = 3", r"case 1 \(a\): weights is 3; expected a text"),
        ('[[case]]\nname = ""', r"case 1 \(\): name is ''; expected a text"),
        (CASE + "batch_size = 0", r"case 1 \(a\): batch_size is 0; expected a whole number above 0"),
        (CASE + "batch_size = true", r"batch_size is True; expected a whole number above 0"),
        (CASE + 'options = "image_size=3"', r"options is 'image_size=3'; expected a table"),
        (CASE + 'expect = { top1 = "high" }', r"expect\.top1 is 'high'; expected a number"),
        (CASE + "recipe = { steps = 3 }", r"case 1 \(a\): recipe is given but train is missing"),
        (CASE + CASE, r"several cases are named a; names must be unique"),
        ("description = 3\n" + CASE, r"description is 3; expected a text"),
        ('description = "nothing"', r"own\.toml: expected one \[\[case\]\] table or more"),
        ("case = 3", r"expected one \[\[case\]\] table or more"),
        ("name = = 3", r"own\.toml: not a TOML file .*line 1"),
    ],
)
def test_a_faulty_suite_is_named_with_its_case_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_suite(write(tmp_path, text))


def test_a_suite_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown suite 'quik'\. Nearest: quick\. Known: .*quick.*; or give a \.toml file"):
        read_suite("quik")
    with pytest.raises(InputError, match=r"absent\.toml: can't be read \(No such file"):
        read_suite(str(tmp_path / "absent.toml"))


def test_cases_are_picked_in_the_order_of_the_file() -> None:
    suite = read_suite("quick")
    assert [case.name for case in suite.pick(["faces", "digits"]).cases] == ["digits", "faces"]
    assert suite.pick(None) == suite
    with pytest.raises(UnknownNameError, match=r"unknown case of the suite quick: 'digit'\. Nearest: digits"):
        suite.pick(["digit"])
    with pytest.raises(InputError, match="no case was chosen; choose from: digits, scenes, faces"):
        suite.pick([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CASE.replace("classification", "clasification"), r"case a: unknown task 'clasification'\. Nearest: classification"),
        (CASE.replace("resnet20", "resnet19"), r"case a: unknown backbone 'resnet19'"),
        (CASE + "options = { colour = 1 }", r"case a: unknown option of the task classification: 'colour'"),
        (
            CASE + 'train = "demo:digits"\nrecipe = { step = 3 }',
            r"unknown recipe setting of the task classification: 'step'\. Nearest: steps",
        ),
        (CASE + 'train = "demo:digits"\nrecipe = { lr = 0 }', r"case a: the task classification: lr is 0; expected a number above 0"),
    ],
)
def test_what_a_case_asks_for_is_checked_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr(harness, "run_in_child", lambda case: pytest.fail("a case was run"))
    with pytest.raises(InputError, match=message):
        bench(write(tmp_path, text), out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_report_cannot_go_into_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, CASE)
    with pytest.raises(InputError, match=r"out: .*own\.toml is a file; expected a folder"):
        bench(path, out=path, quiet=True)


# -- timing ------------------------------------------------------------------------------------------------------------


class FakeClock:
    """A clock that only moves when work is done."""

    def __init__(self, durations_ms: list[float]) -> None:
        self.now, self.durations_ms, self.calls = 0.0, durations_ms, list[int]()

    def __call__(self) -> float:
        return self.now

    def work(self, number: int) -> None:
        self.calls.append(number)
        self.now += self.durations_ms[number % len(self.durations_ms)] / 1000


def test_warm_up_is_made_and_not_counted() -> None:
    clock = FakeClock([1000, 1000, *[10.0] * 98])  # two slow calls at first
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
    assert measure(clock.work, budget_s=1, warmup=1, min_runs=4, clock=clock) == Timing(5000, 5000, 4)
    assert len(clock.calls) == 5


@pytest.mark.parametrize(("budget_s", "min_runs", "name"), [(0, 1, "budget_s"), (1, 0, "min_runs")])
def test_timing_refuses_an_empty_budget(budget_s: float, min_runs: int, name: str) -> None:
    with pytest.raises(InputError, match=f"timing: {name} is 0; expected a number above 0"):
        measure(lambda number: None, budget_s=budget_s, min_runs=min_runs)


def test_percentiles_are_numpys() -> None:
    values = np.random.default_rng(0).random(37).tolist()
    for percent in (0, 5, 50, 95, 100):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-12)
    assert percentile([7.0], 95) == 7


# -- the machine -------------------------------------------------------------------------------------------------------


def test_the_machine_is_described() -> None:
    found = machine.describe_machine()
    assert found.cores == len(psutil.Process().cpu_affinity())
    assert found.memory_mib == psutil.virtual_memory().total // 2**20
    assert found.cpu
    assert found.packages["resnet-zoo"]


def test_peak_memory_stays_after_the_memory_is_freed() -> None:
    before = machine.peak_memory_mib()
    block = np.ones(200 * 2**20 + int(before * 2**20 - psutil.Process().memory_info().rss), dtype=np.uint8)
    del block
    assert machine.peak_memory_mib() == pytest.approx(before + 200, abs=20)


# -- one process per case ----------------------------------------------------------------------------------------------

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
    path = write(tmp_path, CASE + CASE.replace('"a"', '"b"'))
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


# -- reports -----------------------------------------------------------------------------------------------------------


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "new" / "folder")
    assert Report.read(tmp_path / "new" / "folder" / "report.json") == REPORT
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["report.csv", "report.json"]


def test_the_json_has_the_promised_keys() -> None:
    good, failed = REPORT.to_dict()["cases"]
    assert good["status"] == "ok"
    assert good["latency_ms"] == {"median": 3.5, "p95": 4.25, "runs": 100}
    assert good["throughput"] == {"batch_size": 16, "images_per_second": 900.0}
    assert (good["parameters"], good["peak_memory_mib"], good["eval_images_per_second"]) == (272474, 612.5, 720.0)
    assert (failed["status"], failed["error"]) == ("failed", FAILED.error)


def test_the_csv_has_a_row_per_case_and_a_column_per_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(REPORT.to_csv())))
    assert [(row["name"], row["status"], row["scores.top1"], row["latency_ms.p95"]) for row in rows] == [
        ("digits", "ok", "0.9875", "4.25"),
        ("faces", "failed", "", ""),
    ]


@pytest.mark.parametrize(
    ("expect", "shortfalls"),
    [
        ({"top1": 0.9875}, []),
        ({"top1": 0.99}, ["top1 is 0.9875, expected at least 0.99"]),
        ({"f1": 0.5}, ["f1 is absent, expected at least 0.5"]),
        ({"AP50": 0.5}, ["AP50 is absent, expected at least 0.5"]),
    ],
)
def test_a_score_below_the_expected_one_is_a_regression(expect: dict[str, float], shortfalls: list[str]) -> None:
    case = replace(GOOD, expect=expect)
    assert case.shortfalls == shortfalls
    assert case.status == ("regression" if shortfalls else "ok")
    assert replace(REPORT, cases=(case,)).ok == (not shortfalls)


def test_a_score_that_is_no_number_is_a_regression_and_null_in_the_file(tmp_path: Path) -> None:
    case = replace(GOOD, measurement=replace(MEASUREMENT, scores={"top1": float("nan")}))
    assert case.status == "regression"
    replace(REPORT, cases=(case,)).write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["cases"][0]["scores"] == {"top1": None}


def test_the_table_shows_figures_and_reasons() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(REPORT.table())
    text = console.export_text()
    for expected in (
        "quick: a processor, 2 cores, 42 s",
        "top1 0.9875",
        "f1 –",
        "3.5",
        "4.2",
        "900",
        "by 16",
        "0.27",
        "[Errno 2] no such file",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"report\.json: not a report \(JSONDecodeError"),
        ("[]", r"report\.json: not a report \(TypeError"),
        ('{"version": 1}', r"report\.json: not a report \(KeyError: 'cases'"),
        (json.dumps(REPORT.to_dict() | {"version": 99}), r"report\.json: report version 99; this zoo reads 1"),
        (None, r"report\.json: can't be read \(No such file"),
    ],
)
def test_a_file_that_is_no_report(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Report.read(path)


def test_the_packaged_suites_are_listed() -> None:
    assert "quick" in list_suites()
