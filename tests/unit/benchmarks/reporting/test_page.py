"""HTML and Markdown reports of a benchmark, and the Pareto front."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmark_reports import FAILED, GOOD, MEASUREMENT, REPORT
from zoo.benchmarks.harness.report import CaseReport, Timing
from zoo.benchmarks.reporting import page
from zoo.benchmarks.reporting.pareto import Point, front, plot
from zoo.system.disk import StorageError

TAG = "<script>alert(1)</script>"
SKIPPED = CaseReport("late", "face", "resnet18", "demo:faces", "eager, auto", 0.0, not_run="no time")


def test_the_front_has_the_points_that_no_other_beats() -> None:
    points = [
        Point("a", 1, 0.5),
        Point("slower", 2, 0.5),
        Point("b", 2, 0.7),
        Point("worse", 2, 0.6),
        Point("c", 9, 0.8),
        Point("d", 9, 0.8),
    ]
    assert [point.name for point in front(points)] == ["a", "b", "c", "d"]
    assert front([]) == []
    assert plot([], "top1", "latency", "ms") == ""
    drawn = plot(points, "top1", "latency", "ms")
    assert drawn.count('class="point best" tabindex="0"') == 4
    assert "On the Pareto front: a, b, c, d" in drawn
    assert "worse: top1 0.6000, 2 ms" in drawn


def test_all_cases_and_their_reasons_are_in_the_page() -> None:
    missed = replace(GOOD, name="missed", expect={"top1": 0.99})
    report = replace(REPORT, cases=(GOOD, missed, FAILED, SKIPPED), arguments={"suite": "my suite.toml", "memory_mib": 900, "engine": None})
    html = page.html(report)
    assert re.findall(r'data-case="(\w+)" data-status="(\w+)"', html) == [
        ("digits", "ok"), ("missed", "regression"), ("faces", "failed"), ("late", "skipped"),
    ]  # fmt: skip
    for expected in ("[Errno 2] no such file", "top1 is 0.9875, expected at least 0.99", "no time", "0.9800 – 0.9900", "a processor"):
        assert expected in html
    assert "zoo bench &#x27;my suite.toml&#x27; --only digits --memory-mib 900" in html
    assert html.count('class="point') == 4, "two cases over latency and memory"
    assert "digits: top1 0.9875, 612 MiB" in html


def test_text_is_escaped_and_only_the_own_script_is_allowed() -> None:
    html = page.html(replace(REPORT, suite=TAG, cases=(replace(GOOD, name=TAG, task=TAG), replace(FAILED, error=TAG))))
    assert TAG not in html
    assert html.count("<script>") == 1
    assert re.search(r"default-src 'none'.*; script-src 'sha256-[\w+/=]{44}'\"", html)


def test_a_large_report_is_below_three_megabytes() -> None:
    cases = tuple(replace(GOOD, name=f"digits/resnet{number}/openvino/bf16/lr=0.001@{number}") for number in range(1500))
    assert len(page.html(replace(REPORT, cases=cases)).encode()) < 3_000_000


def test_scores_that_are_undefined_are_neither_drawn_nor_sorted() -> None:
    undefined = replace(MEASUREMENT, scores={"top1": float("nan")}, latency=Timing(1.0, 2.0, 3), scenarios={"offline": {"rate": 91.25}})
    html = page.html(replace(REPORT, cases=(replace(GOOD, measurement=undefined), replace(FAILED, name="b"))))
    assert 'class="point' not in html
    assert '<td class="n" data-value="">top1 –' in html
    assert "rate 91.25" in html
    assert "No case was measured." in html
    bare = replace(GOOD, measurement=replace(MEASUREMENT, scores={}, replicates={}))
    assert page.primary_score(bare) == ""
    expected = replace(GOOD, measurement=replace(MEASUREMENT, replicates={"top1": (), "top5": ()}))
    assert page.primary_score(expected) == "top5", "top1 has replicates because it is expected"


def test_seeds_have_a_table() -> None:
    runs = tuple(replace(GOOD, name=f"digits@{seed}", settings={"seed": seed}) for seed in (0, 1))
    assert "<td>digits</td><td>2</td><td>top1</td>" in page.html(replace(REPORT, cases=runs)).replace(' class="n"', "")


def test_markdown_has_a_row_per_case() -> None:
    lines = page.markdown(replace(REPORT, cases=(replace(GOOD, name="a|b"), FAILED, SKIPPED))).splitlines()
    assert lines[0] == "# Benchmark quick"
    rows = [line for line in lines if line.startswith("|")]
    assert rows[2] == "| a\\|b | ok | top1 0.9875 | 3.50 | 900.0 | 0.27 | 612 | `zoo bench quick --only 'a\\|b'` |"
    assert len(rows) == 5
    assert lines[-2:] == ["- faces: [Errno 2] no such file", "- late: no time"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.write_pages(REPORT, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(page, "write_text", full)
    with pytest.raises(StorageError, match=r"report\.html: can't be written \(No space left.* finished cases are not repeated"):
        page.write_pages(REPORT, tmp_path)
