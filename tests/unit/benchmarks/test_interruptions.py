"""The benchmark that kills training runs with `kill -9` at random moments, with three runs instead of twenty."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zoo.benchmarks import interruptions
from zoo.benchmarks.interruptions import Kill, Runs

pytestmark = pytest.mark.slow


def test_three_killed_runs_end_like_the_one_that_was_not() -> None:
    words = [
        "--times",
        "3",
        "--epochs",
        "2",
        "--seed",
        "4",
    ]  # a seed whose kills cover runs with and without loader processes, and kills while writing
    result = subprocess.run(
        [sys.executable, "-m", "zoo.benchmarks.interruptions", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "3 of 3 runs are bit-identical to the uninterrupted run"
    assert len([line for line in lines if re.fullmatch(r"run\d: [02] loader processes; killed after .* s.*; then equal", line)]) == 3
    assert " writing " in lines[2]


def test_a_run_that_ends_otherwise_is_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    killed = iter([Kill((), 1.5), Kill(("last.pt",), 2.5), None, Kill((), 3)])

    def kill(self: Runs, *arguments: Any, **options: Any) -> Kill | None:
        return next(killed)

    def finish(self: Runs, name: str, workers: int, resume: bool) -> None:
        (self.root / name / "model").mkdir(parents=True)
        (self.root / name / "metrics.jsonl").write_text("")
        (self.root / name / "model" / "weights.safetensors").write_text("other" if name == "run2" else "as it should be")

    monkeypatch.setattr(Runs, "kill", kill)
    monkeypatch.setattr(Runs, "finish", finish)
    monkeypatch.setattr(interruptions, "_KILLS", 1)
    assert interruptions.main(["--times", "3", "--seed", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "run1: 0 loader processes; killed after 1.50 s; then equal",
        "run2: 0 loader processes; killed after 2.50 s writing last.pt; then DIFFERENT",
        "run3: 2 loader processes; killed after 3.00 s; then equal",
        "2 of 3 runs are bit-identical to the uninterrupted run",
    ]


def test_a_run_that_does_not_end_well_is_shown(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)the run wrong ended with exit status 2: .*epochs is 0; expected 1 or more"):
        Runs(tmp_path, epochs=0).finish("wrong", 0, resume=False)
