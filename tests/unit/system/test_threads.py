"""The number of threads follows the cores that other programs leave free, unless the user has chosen it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from zoo.system import threads
from zoo.system.threads import Threads, wait_briefly


class Machine:
    """Four cores of which other programs use `others`, and a clock that a test moves on."""

    def __init__(self) -> None:
        self.seconds, self.used, self.others = 100.0, 7.0, 0.0

    def move_on(self, seconds: float, others: float) -> None:
        self.seconds, self.used = self.seconds + seconds, self.used + seconds * others

    def cpu_times(self, percpu: bool) -> list[Any]:
        assert percpu
        idle = SimpleNamespace(user=1.0, system=1.0, nice=0.0)
        return [
            idle,
            SimpleNamespace(user=self.used, system=1.0, nice=0.0),
            idle,
            idle,
            SimpleNamespace(user=9 * self.used, system=0, nice=0),
        ]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The fifth core doesn't belong to this process."""
    made, before = Machine(), torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_affinity", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_times", made.cpu_times)
    monkeypatch.setattr(os, "times", lambda: SimpleNamespace(user=0.0, system=0.0))
    monkeypatch.setattr(time, "monotonic", lambda: made.seconds)
    torch.set_num_threads(4)
    yield made
    torch.set_num_threads(before)


@pytest.mark.parametrize(("others", "count"), [(0.0, 4), (0.25, 4), (0.7, 3), (1.0, 3), (2.05, 2), (3.9, 1), (40.0, 1)])
def test_busy_cores_are_left_to_others(machine: Machine, others: float, count: int) -> None:
    own = Threads()
    machine.move_on(1.0, others)
    assert own.adapt() == torch.get_num_threads() == count
    machine.move_on(1.0, 0.0)
    assert own.adapt() == torch.get_num_threads() == 4


def test_the_load_is_measured_over_a_quarter_of_a_second(machine: Machine) -> None:
    own = Threads()
    machine.move_on(0.2, 3.0)
    assert own.adapt() == 4
    machine.move_on(0.2, 3.0)
    assert own.adapt() == 1
    machine.move_on(0.2, 0.0)
    assert own.adapt() == 1


def test_own_work_is_not_that_of_others(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Threads()
    machine.move_on(1.0, 3.0)
    monkeypatch.setattr(os, "times", lambda: SimpleNamespace(user=1.5, system=0.5))
    assert own.adapt() == 3


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", None])
def test_a_number_that_the_user_has_chosen_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, "4")
    own = Threads()
    own.adapt()
    if variable is None:
        torch.set_num_threads(2)
    before = torch.get_num_threads()
    machine.move_on(1.0, 3.0)
    assert own.adapt() == torch.get_num_threads() == before
    with own.held(1):
        assert torch.get_num_threads() == before


def test_a_quota_limits_the_threads(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    own = Threads()
    machine.move_on(1.0, 0.0)
    assert own.adapt() == 2


def test_a_training_run_keeps_its_threads(machine: Machine) -> None:
    own = Threads()
    with own.held(3):
        machine.move_on(1.0, 3.0)
        assert own.adapt() == torch.get_num_threads() == 3
        with own.held():
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 4
    machine.move_on(1.0, 2.0)
    assert own.adapt() == 2


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "membership", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, "0::/a/b\n", 3.0),
        ({"a/cpu.max": "400000 100000\n", "cpu.max": "200000 100000\n"}, "0::/a\n", 2.0),
        ({"cpu/d/cpu.cfs_quota_us": "50000\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, "3:memory:/d\n4:cpu:/d\n", 0.5),
        ({"cpu/d/cpu.cfs_quota_us": "-1\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, "4:cpu:/d\n", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "?\n"}, "0::/\n", None),
        ({}, "0::/gone\n", None),
    ],
)
def test_the_smallest_quota_of_all_control_groups(tmp_path: Path, files: dict[str, str], membership: str, quota: float | None) -> None:
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    write(tmp_path / "membership", membership)
    assert threads._quota(tmp_path / "membership", tmp_path / "cgroup") == quota
    assert threads._quota(tmp_path / "missing", tmp_path / "cgroup") is None


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_threads_wait_briefly_unless_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as chosen:
        chosen.setenv("OMP_WAIT_POLICY", "active")
        wait_briefly()
        assert "GOMP_SPINCOUNT" not in os.environ
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.delenv("GOMP_SPINCOUNT")


@pytest.mark.parametrize("start", ["import zoo.benchmarks", "from zoo.cli.main import main; main(['--version'])"])
def test_how_threads_wait_is_set_before_torch_is_imported(start: str) -> None:
    code = f"import os, sys; {start}; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "10000 False"
