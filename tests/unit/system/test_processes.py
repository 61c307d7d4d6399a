"""Behaviour of several processes that a single process can test: lost connections, and signals left to the main process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.small_training import RECIPE, coloured, fresh
from zoo.data.loader import _leave_signals
from zoo.errors import InputError, ZooError
from zoo.system.processes import Processes, bound
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_lost_connection_is_said_and_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4321"
    with pytest.raises(RuntimeError, match="closed by peer"), bound():
        raise RuntimeError(lost)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    message = (
        r"process 1 of 2: another process of this job has ended, so this one ends too \(.*closed by peer.*\); .* with --resume \(torchrun"
    )
    with pytest.raises(ZooError, match=message), bound():
        raise RuntimeError(lost)
    with pytest.raises(RuntimeError, match="shapes differ"), bound():
        raise RuntimeError("shapes differ")


def test_a_checkpoint_that_not_all_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "sums", lambda self, *values: [3.0])
    with pytest.raises(
        InputError, match="run: the processes loaded different checkpoints; choose an --out folder that all of them can read"
    ):
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run")


def test_loader_processes_obey_the_second_sigterm_alone() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _leave_signals(0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
