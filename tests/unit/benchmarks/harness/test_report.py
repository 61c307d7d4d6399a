"""Reports: writing, reading and printing."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.benchmark_reports import FAILED, GOOD, MEASUREMENT, REPORT
from zoo.benchmarks.harness.report import CaseReport, Report
from zoo.benchmarks.harness.suite_file import list_suites
from zoo.benchmarks.harness.table import terminal_table
from zoo.errors import InputError


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "new" / "folder")
    assert Report.read(tmp_path / "new" / "folder" / "report.json") == REPORT
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["report.csv", "report.json"]


def test_the_json_has_the_documented_keys() -> None:
    good, failed = REPORT.to_dict()["cases"]
    assert good["status"] == "ok"
    assert good["latency_ms"] == {"median": 3.5, "p95": 4.25, "runs": 100, "blocks_ms": [3.4, 3.6]}
    assert good["throughput"] == {"batch_size": 16, "images_per_second": 900.0, "blocks_ms": []}
    assert (good["parameters"], good["peak_memory_mib"], good["eval_images_per_second"]) == (272474, 612.5, 720.0)
    assert (failed["status"], failed["error"]) == ("failed", FAILED.error)


def test_the_csv_has_a_row_per_case_and_a_column_per_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(REPORT.to_csv())))
    assert [(row["name"], row["status"], row["scores.top1"], row["latency_ms.p95"], row["intervals.top1.low"]) for row in rows] == [
        ("digits", "ok", "0.9875", "4.25", "0.98"),
        ("faces", "failed", "", "", ""),
    ]


@pytest.mark.parametrize(
    ("expect", "shortfalls"),
    [
        ({"top1": 0.9875}, []),
        ({"top1": 0.99}, ["top1 is 0.9875, expected at least 0.99"]),
        ({"f1": 0.5}, ["f1 is absent, expected at least 0.5"]),
        ({"AP50": 0.5}, ["AP50 is absent, expected at least 0.5"]),
        ({"top1": {"value": 0.99, "tolerance": 0.01}}, []),
        ({"top1": {"value": 0.99, "tolerance": 0.001}}, ["top1 is 0.9875, expected 0.99 ± 0.001"]),
        ({"latency_ms": 3.5, "images_per_second": 900, "parameters": 272_474}, []),
        ({"latency_ms": 3.4}, ["latency_ms is 3.5000, expected at most 3.4"]),
        (
            {"latency_ms": {"value": 3.4, "tolerance": 0.2}, "peak_memory_mib": {"value": 500, "tolerance": 100}},
            ["peak_memory_mib is 612.5000, expected 500 ± 100"],
        ),
        (
            {"images_per_second": 901, "latency_p95_ms": 4},
            ["images_per_second is 900.0000, expected at least 901", "latency_p95_ms is 4.2500, expected at most 4"],
        ),
    ],
)
def test_a_score_below_the_expected_one_is_a_regression(expect: dict[str, Any], shortfalls: list[str]) -> None:
    case = replace(GOOD, expect=expect)
    assert case.shortfalls == shortfalls
    assert case.status == ("regression" if shortfalls else "ok")
    assert replace(REPORT, cases=(case,)).ok == (not shortfalls)


def test_seeds_are_summarised() -> None:
    runs = tuple(
        replace(GOOD, name=f"digits@{seed}", settings={"seed": seed}, measurement=replace(MEASUREMENT, scores={"top1": value, "f1": f1}))
        for seed, value, f1 in ((0, 0.9, 0.5), (1, 0.8, None), (2, 1.0, 0.7))
    )
    report = replace(REPORT, cases=(*runs, replace(FAILED, name="digits@3", settings={"seed": 3}), GOOD))
    (summary,) = report.to_dict()["seeds"]
    assert (summary["name"], summary["runs"], list(summary["scores"])) == ("digits", 3, ["top1"])  # f1 isn't defined in every run
    assert summary["scores"]["top1"] == pytest.approx({"mean": 0.9, "std": 0.1, "min": 0.8, "max": 1.0})
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_table(report))
    assert "top1 0.9000 ± 0.1000" in console.export_text()
    assert replace(report, cases=runs[:1]).seeds[0].scores["top1"]["std"] == 0


def test_a_skipped_case_is_no_failure(tmp_path: Path) -> None:
    skipped = CaseReport("faces", "face", "resnet18", "demo:faces", "eager, auto", 0.0, not_run="no time")
    report = replace(REPORT, cases=(GOOD, skipped))
    assert (skipped.status, report.ok) == ("skipped", True)
    report.write(tmp_path)
    assert Report.read(tmp_path / "report.json") == report


def test_a_score_that_is_no_number_is_a_regression_and_null_in_the_file(tmp_path: Path) -> None:
    case = replace(GOOD, measurement=replace(MEASUREMENT, scores={"top1": float("nan")}))
    assert case.status == "regression"
    replace(REPORT, cases=(case,)).write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["cases"][0]["scores"] == {"top1": None}


def test_the_table_shows_figures_and_reasons() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_table(REPORT))
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
        ("{", r"report\.json is not a report \(JSONDecodeError"),
        ("[]", r"report\.json is not a report \(TypeError"),
        ('{"version": 2}', r"report\.json is not a report \(KeyError: 'cases'"),
        (json.dumps(REPORT.to_dict() | {"version": 99}), r"report\.json: the report has version 99; expected version 2"),
        (None, r"report\.json can't be read \(No such file"),
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
