"""Training in several processes: it is equivalent to one process, and nothing hangs or is lost when one of them ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
import torch

from tests.forking import Job, run_job
from tests.pictures import write_class_folders
from tests.processes import in_processes, start_together
from zoo.models.archive import load

pytestmark = pytest.mark.slow

WORDS = "--backbone test_resnet --image-size 32 --workers 0 --precision fp32 --freeze norm --seed 3"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 21 images; in batches of eight, the last one has five, which two processes share unequally."""
    return write_class_folders(tmp_path_factory.mktemp("data"), per_class=7)


def command(pictures: Path, out: Path, *more: str) -> list[str]:
    return ["train", "--data", f"folder:{pictures}", "--out", str(out), *WORDS.split(), *more]


def torchrun(words: Sequence[str], *options: str) -> subprocess.Popen[str]:
    """Start two processes with torchrun, as a user would."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options, "-m", "zoo"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *launcher, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str, str]:
    """Wait for a job, kill its remaining processes, and return its exit status, standard output and standard error."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    try:
        output, stderr = process.communicate(timeout=timeout)
    finally:
        process.kill()
        for child in children:
            if child.is_running():
                child.kill()
    return process.returncode, output, stderr


def curve(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [loss for line in lines for loss in line["curve"]["loss"]]


def same_weights(first: Path, second: Path) -> bool:
    one, other = load(first).state_dict(), load(second).state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# -- equivalence ----------------------------------------------------------------------------------------------------------

LONG = ("--epochs", "7", "--batch-size", "4")  # 21 steps


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Folder, standard output and standard error of an undisturbed run of two processes."""
    out = tmp_path_factory.mktemp("whole") / "run"
    status, output, stderr = finished(torchrun(command(pictures, out, *LONG, "--json")))
    assert status == 0, stderr
    return out, output, stderr


def test_the_loss_curve_is_that_of_one_process_with_the_same_batches(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    alone = command(pictures, tmp_path / "run", "--epochs", "7", "--batch-size", "8", "--quiet")
    assert run_job(Job(alone)).status == 0
    one, two = curve(tmp_path / "run"), curve(whole[0])
    assert len(one) == len(two) == 21
    assert two == pytest.approx(one, abs=1e-4)
    assert one[-1] < one[0] - 0.1


def test_the_first_process_speaks_for_all(whole: tuple[Path, str, str]) -> None:
    folder, output, stderr = whole
    assert json.loads(output)["folder"] == str(folder)
    assert stderr.count("epoch 7/7  loss") == 1
    assert "Traceback" not in stderr


def test_scores_are_printed_once(pictures: Path, whole: tuple[Path, str, str]) -> None:
    first, second = start_together(2, None, "eval", str(whole[0]), "--data", f"folder:{pictures}", "--json", "--quiet", "--replicates", "0")
    assert (first.status, second.status) == (0, 0), first.stderr + second.stderr
    assert json.loads(first.stdout)["n"] == 21
    assert second.stdout == ""


# -- processes that end --------------------------------------------------------------------------------------------------------------


def until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def other_than_first(process: subprocess.Popen[str], out: Path) -> int:
    """Return the PID of the second process; the run's lock contains that of the first."""
    first = int((out / ".lock").read_text().split()[0])
    return next(int(child.pid) for child in psutil.Process(process.pid).children() if child.pid != first)


def test_a_killed_process_ends_the_job_and_it_goes_on_with_resume(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun(command(pictures, out, *LONG, "--checkpoint-minutes", "0"))
    until((out / "checkpoints" / "last.pt").exists, process)
    os.kill(other_than_first(process, out), signal.SIGKILL)
    start = time.monotonic()
    status, _, stderr = finished(process)
    assert time.monotonic() - start < 60
    assert status != 0
    assert "another process of this job has ended, so this one ends too" in stderr
    assert "training continues with --resume (torchrun --max-restarts 1 does this automatically)" in stderr
    assert stderr.count("Traceback") == 1  # torchrun's own
    assert not (out / "model").exists()
    status, _, stderr = finished(torchrun(command(pictures, out, *LONG, "--resume")))
    assert status == 0, stderr
    assert stderr.count("resumed after") == 1
    assert same_weights(out, whole[0])
    assert (out / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_torchrun_starts_a_killed_process_again(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    """--resume isn't needed: the second attempt recognises the run of its job."""
    out = tmp_path / "run"
    process = torchrun(command(pictures, out, *LONG, "--checkpoint-minutes", "0"), "--max-restarts", "1")
    until((out / "checkpoints" / "last.pt").exists, process)
    os.kill(other_than_first(process, out), signal.SIGKILL)
    status, _, stderr = finished(process)
    assert status == 0, stderr
    assert "resumed after" in stderr
    assert same_weights(out, whole[0])
    assert (out / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_sigterm_ends_all_processes_after_the_same_step(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun(command(pictures, out, "--epochs", "4000", "--batch-size", "4"))
    until((out / "checkpoints" / "last.pt").exists, process)
    os.kill(other_than_first(process, out), signal.SIGTERM)
    status, _, stderr = finished(process)
    assert status != 0
    assert stderr.count("stopped by SIGTERM after") == 1, stderr
    assert "exitcode  : 143" in stderr or "exitcode: 143" in stderr, stderr
    assert torch.load(out / "checkpoints" / "last.pt", weights_only=True)["batches_done"] > 0


def test_what_is_wrong_in_all_processes_is_said_once(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    """Also with restarts: a run of another job is not resumed without --resume."""
    status, output, stderr = finished(torchrun(command(pictures, whole[0], *LONG), "--max-restarts", "1"))
    assert status != 0
    assert output == ""
    assert stderr.count("already contains a run; continue it with --resume") == 2  # once per attempt


# -- batches that one process can't use -------------------------------------------------------------------------------

LEFT_OUT = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from tests.small_training import COLOURS, RECIPE, coloured, fresh, poisoned_loss
from zoo.data.dataset import Record
from zoo.errors import ImageError
from zoo.training.train import train

out, processes, unreadable = Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]), int(sys.argv[2])
data = coloured(16)

def damaged():
    raise ImageError("damaged", "is damaged", "unreadable")

records = [replace(record, source=damaged) if index < unreadable else record for index, record in enumerate(data.records)]
if not unreadable:
    records[-1] = replace(records[-1], target=3)
data = replace(data, records=tuple(records), classes=(*data.classes, "odd"))
recipe = replace(
    RECIPE, epochs=6, batch_size=8 // processes, grad_accumulation=2, freeze="norm", on_nan="skip", min_samples=1, crop_scale=1.0,
    flip=0.0, ema=0.9,
)
model = fresh(5 + int(os.environ["RANK"]) * unreadable, classes=[*sorted(COLOURS), "odd"])
poisoned_loss(model)
run = train(model, data, None, recipe, out, device="cpu", on_error="skip")
if os.environ["RANK"] == "0":
    print(json.dumps({
        "not_finite": run.not_finite,
        "entries": [entry["not_finite"] for entry in run.history],
        "skipped": sorted(fault.key for fault in run.skipped),
        "batches": [entry["curve"]["batch"] for entry in run.history],
        "curve": [loss for entry in run.history for loss in entry["curve"]["loss"]],
        "sum": float(sum(value.double().abs().sum() for value in run.model.state_dict().values())),
    }))
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


def test_a_loss_that_is_no_number_in_one_process_leaves_the_batch_out_in_all(tmp_path: Path) -> None:
    """A step has two batches; the skipped one is sometimes the second, with which gradients would have been synchronised."""
    one, two = (in_processes(count, LEFT_OUT, str(tmp_path / str(count)), "0") for count in (1, 2))
    assert one["not_finite"] == two["not_finite"] == 6
    assert one["entries"] == two["entries"] == [1] * 6
    assert one["batches"] == two["batches"]
    assert two["curve"] == pytest.approx(one["curve"], abs=1e-4)
    assert two["sum"] == pytest.approx(one["sum"], rel=1e-6)


def test_pictures_that_one_process_can_not_read_hold_up_nobody(tmp_path: Path) -> None:
    """Ten of sixteen: some batches have one image or none in one process. The first process counts all skipped images."""
    two = in_processes(2, LEFT_OUT, str(tmp_path / "run"), "10")
    assert two["skipped"] == [f"s{index:02d}" for index in range(10)]
    assert 0 < len(two["curve"]) < 12


THAWED = """
import json, os, sys
from dataclasses import replace
import torch
torch.set_num_threads(1)
from tests.small_training import RECIPE, coloured, fresh
from zoo.training.train import train

processes = int(os.environ["WORLD_SIZE"])
recipe = replace(RECIPE, epochs=4, batch_size=8 // processes, unfreeze_every=1, crop_scale=1.0, flip=0.0)
run = train(fresh(freeze="trunk,norm"), coloured(16), None, recipe, sys.argv[1], device="cpu")
if os.environ["RANK"] == "0":
    print(json.dumps([loss for entry in run.history for loss in entry["curve"]["loss"]]))
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


def test_stages_that_are_set_free_learn_from_all_processes(tmp_path: Path) -> None:
    one, two = (in_processes(count, THAWED, str(tmp_path / str(count))) for count in (1, 2))
    assert two == pytest.approx(one, abs=1e-4)
    assert len(one) == 8
