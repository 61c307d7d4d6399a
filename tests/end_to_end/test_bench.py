"""`zoo.bench` on a small suite with real training, evaluation, timing and reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zoo
from zoo.cli.main import main

pytestmark = pytest.mark.slow

SUITE = """
[[case]]
name = "digits"
task = "classification"
backbone = "resnet20"
train = "demo:digits?split=train&limit=256"
test = "demo:digits?split=test&limit=100"
options = { image_size = 16 }
recipe = { epochs = 8, batch_size = 16 }
expect = { top1 = 0.0, f1 = 1.01 }

[[case]]
name = "absent"
task = "classification"
backbone = "resnet20"
test = "folder:nowhere"
"""


def test_a_small_suite(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    report = zoo.bench(tmp_path / "small.toml", out=tmp_path / "out", quiet=True)
    digits, absent = report.cases
    assert (digits.status, absent.status, report.ok) == ("regression", "failed", False)  # no f1 reaches 1.01
    assert absent.error is not None
    assert "nowhere" in absent.error
    found = digits.measurement
    assert found is not None
    assert found.scores["top1"] is not None
    assert found.scores["top1"] > 0.5  # chance is 0.1; four seeds gave 0.67 to 0.80
    assert (found.n, found.skipped, found.throughput.batch_size) == (100, 0, 16)
    assert found.parameters == 269_722  # the 0.27 M of He et al. 2015, table 6
    assert 0 < found.latency.median_ms <= found.latency.p95_ms
    assert found.throughput.images_per_second > 0
    assert 100 < found.peak_memory_mib < 4096
    assert main(["bench", "compare", str(tmp_path / "out"), str(tmp_path / "out")]) == 0  # both have the same regression and failure
    content = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert content["machine"]["cores"] >= 1
    assert [case["name"] for case in content["cases"]] == ["digits", "absent"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cases", "report.csv", "report.html", "report.json", "report.md"]
