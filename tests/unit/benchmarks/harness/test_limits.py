"""Limits of a case's process: time, memory, and the end of its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from zoo.benchmarks.harness.limits import parse_duration, run_limited
from zoo.errors import InputError

_ALLOCATE = "block = bytearray(200 * 2**20); time.sleep(60)"


def limited(tmp_path: Path, code: str, timeout_s: float | None = None, memory_mib: float | None = None) -> tuple[int, str | None]:
    with (tmp_path / "log.txt").open("wb") as log:
        command = [sys.executable, "-c", f"import os, subprocess, sys, time; {code}"]
        return run_limited(command, log, dict(os.environ), timeout_s, memory_mib)


def test_a_process_within_its_limits_ends_by_itself(tmp_path: Path) -> None:
    assert limited(tmp_path, "print('done'); sys.exit(3)", timeout_s=60, memory_mib=4096) == (3, None)
    assert (tmp_path / "log.txt").read_text() == "done\n"


def test_a_process_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(child.pid, flush=True); time.sleep(60)"
    status, reason = limited(tmp_path, code, timeout_s=1)
    assert reason == "killed: it took longer than its time limit of 1 s; raise timeout to give it more"
    assert status != 0
    child = int((tmp_path / "log.txt").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("code", [_ALLOCATE, f"subprocess.run([sys.executable, '-c', 'import time; {_ALLOCATE}'])"])
def test_a_process_that_uses_too_much_memory_is_killed(tmp_path: Path, code: str) -> None:
    _, reason = limited(tmp_path, code, memory_mib=150)
    assert reason is not None
    assert "MiB, more than its memory limit of 150 MiB; raise memory_mib" in reason


def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = "import sys, time; from pathlib import Path; from zoo.benchmarks.harness.limits import end_with_parent; "
    code += "end_with_parent(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(scratch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()  # as when the parent is killed
        assert process.wait(30) == 1
    assert not scratch.exists()


@pytest.mark.parametrize(("value", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("45", 45), (2.5, 2.5)])
def test_durations(value: float | str, seconds: float) -> None:
    assert parse_duration(value, "budget") == seconds


@pytest.mark.parametrize("value", ["", "soon", "30 minutes", "0", 0, -1, float("nan"), float("inf"), True])
def test_a_duration_that_is_none(value: float | str) -> None:
    with pytest.raises(InputError, match=r'budget is .*; expected a duration above 0: seconds, or text such as "90s"'):
        parse_duration(value, "budget")
