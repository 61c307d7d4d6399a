"""Interrupted runs, which end as if they had not been interrupted when resumed."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from tests.forking import Done, Job, run_job, start_job
from tests.pictures import write_class_folders
from tests.small_training import RECIPE, StopAt, coloured, fresh, same
from zoo.models.archive import load
from zoo.system.signals import Interrupted
from zoo.training.checkpoints import CHECKPOINT, LOCK
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

THOROUGH = replace(RECIPE, epochs=3, grad_accumulation=2, ema=0.9, clip_grad=1.0)


@pytest.fixture(scope="module")
def whole(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run with four batches per epoch and two per step; dropout draws random numbers."""
    return train(fresh(dropout=0.5), coloured(14), coloured(6), THOROUGH, tmp_path_factory.mktemp("whole") / "run").folder


@pytest.mark.parametrize(("batch", "after", "workers"), [(1, 2, 0), (4, 4, 2), (6, 6, 0), (9, 10, 0), (12, 12, 0)])
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(
    tmp_path: Path, whole: Path, batch: int, after: int, workers: int
) -> None:
    """A step, here of two batches, is always finished first."""
    recipe, out = replace(THOROUGH, workers=workers), tmp_path / "run"
    with pytest.raises(Interrupted, match=f"interrupted after {after} batches; continue with the same command and --resume"):
        train(fresh(dropout=0.5), coloured(14), coloured(6), recipe, out, progress=StopAt(batch))
    assert not (out / "model").exists()
    run = train(fresh(99, dropout=0.5), coloured(14), coloured(6), recipe, out, resume=True)
    assert same(load(out).state_dict(), load(whole).state_dict())
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert run.scores is not None  # also where the best epoch was before the interruption
    assert run.history[-1]["step"] == 6


def test_sigterm_stops_like_ctrl_c(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after 1 batches; continue with the same command and --resume") as caught:
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run", progress=StopAt(1, signal.SIGTERM))
    assert caught.value.exit_status == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert (tmp_path / "run" / CHECKPOINT).is_file()


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    first = train(fresh(), coloured(), None, RECIPE, tmp_path / "run")
    again = train(fresh(), coloured(), None, RECIPE, tmp_path / "run", resume=True)
    assert same(first.model.state_dict(), again.model.state_dict())
    assert again.history == first.history


SESSION = """
import os, sys
from zoo.cli.main import main

os.setsid()  # as a terminal's commands have a process group of their own
sys.exit(main(sys.argv[1:]))
"""


def training(tmp_path: Path, epochs: int, workers: int) -> tuple[Future[Done], int, list[str]]:
    """Start `zoo train` in a separate process. Return the job, its PID and its words when it has written a checkpoint."""
    data, out = write_class_folders(tmp_path / "data", per_class=8), tmp_path / "run"
    model = "--backbone test_resnet --image-size 32 --batch-size 4"
    words = f"train --data folder:{data} --out {out} {model} --workers {workers} --epochs {epochs}".split()
    job = start_job(Job(words, SESSION))
    while not (out / CHECKPOINT).exists():
        assert not job.done(), job.result()
        time.sleep(0.01)
    return job, int((out / LOCK).read_text().split()[0]), words


@pytest.mark.slow
def test_ctrl_c_in_a_real_process_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    job, pid, words = training(tmp_path, epochs=4000, workers=1)
    os.killpg(pid, signal.SIGINT)  # a terminal sends it to the loader processes too
    done = job.result()
    assert done.status == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "continue with the same command and --resume" in done.stderr.splitlines()[-1]
    state = torch.load(out / CHECKPOINT, weights_only=True)
    assert state["batches_done"] > 0
    torch.save({**state, "batches_done": 4000 * 6}, out / CHECKPOINT)  # as if it had nearly finished, so that resuming takes no time
    resumed = run_job(Job([*words, "--resume"]))
    assert resumed.status == 0, resumed.stderr
    assert "resumed after 24000 of 24000 batches" in resumed.stderr
    assert load(out).task == "classification"


@pytest.mark.slow
def test_a_loader_process_that_is_killed_ends_in_a_message(tmp_path: Path) -> None:
    job, pid, _ = training(tmp_path, epochs=4000, workers=2)
    readers = [child for child in psutil.Process(pid).children(recursive=True) if not child.children()]
    assert readers, "no loader process"
    for reader in readers:
        if "resource_tracker" not in " ".join(reader.cmdline()):
            reader.kill()
    done = job.result()
    assert done.status == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "zoo: a data loader process was killed" in done.stderr
