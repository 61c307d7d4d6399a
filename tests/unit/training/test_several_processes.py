"""Training in several processes: it is equivalent to one process, and nothing hangs or is lost when one of them ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import torch

from tests.forking import Done, Job, in_processes, run_job, start_job, start_together
from tests.pictures import write_class_folders
from zoo.models.archive import load
from zoo.training.checkpoints import CHECKPOINT

pytestmark = pytest.mark.slow

WORDS = "--backbone test_resnet --image-size 32 --workers 0 --precision fp32 --freeze norm --seed 3"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 21 images; in batches of eight, the last one has five, which two processes share unequally."""
    return write_class_folders(tmp_path_factory.mktemp("data"), per_class=7)


def command(pictures: Path, out: Path, *more: str) -> list[str]:
    return ["train", "--data", f"folder:{pictures}", "--out", str(out), *WORDS.split(), *more]


TORCHRUN = """
import sys
from torch.distributed import run
from zoo.cli.main import main

def zoo(*words):
    sys.exit(main(words))

configured = run.config_from_args
def forking(arguments):
    config, _, (_, _, _, *words) = configured(arguments)  # python -u -m zoo …
    return config, zoo, words

run.config_from_args = forking
run.main(["--start-method", "fork", *sys.argv[1:]])
"""


def torchrun(words: Sequence[str], *options: str) -> list[str]:
    """Return the arguments with which torchrun starts two processes of the zoo."""
    return ["--standalone", "--nproc-per-node", "2", *options, "-m", "zoo", *words]


def finished(words: list[str]) -> Done:
    """Run torchrun, whose processes are forked: they start ten times as fast as those that import torch."""
    return run_job(Job(words, TORCHRUN))


def disturbed(words: list[str], out: Path, number: int) -> Done:
    """Run torchrun, and send a signal to the second process as soon as there is a checkpoint."""
    job = start_job(Job(words, TORCHRUN))
    while not (out / CHECKPOINT).exists() and not job.done():
        time.sleep(0.01)
    if not job.done():
        os.kill(other_than_first(out), number)
    return job.result()


def other_than_first(out: Path) -> int:
    """Return the PID of the second process; the run's lock contains that of the first."""
    first = psutil.Process(int((out / ".lock").read_text().split()[0]))
    others = [child for child in first.parent().children() if child != first]
    return next(int(child.pid) for child in others if "resource_tracker" not in " ".join(child.cmdline()))


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
    """Folder, standard output and standard error of an undisturbed run of two processes, started as a user would."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = [sys.executable, "-m", "torch.distributed.run", *torchrun(command(pictures, out, *LONG, "--json"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, done.stderr


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


def test_a_killed_process_ends_the_job_and_it_goes_on_with_resume(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = disturbed(torchrun(command(pictures, out, *LONG, "--checkpoint-minutes", "0")), out, signal.SIGKILL)
    assert done.status > 0, "torchrun has ended by itself"
    assert "another process of this job has ended, so this one ends too" in done.stderr
    assert "training continues with --resume (torchrun --max-restarts 1 does this automatically)" in done.stderr
    assert done.stderr.count("Traceback") == 2  # torchrun's own: what it logs about a forked process, and its last error
    assert not (out / "model").exists()
    done = finished(torchrun(command(pictures, out, *LONG, "--resume")))
    assert done.status == 0, done.stderr
    assert done.stderr.count("resumed after") == 1
    assert same_weights(out, whole[0])
    assert (out / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_torchrun_starts_a_killed_process_again(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    """--resume isn't needed: the second attempt recognises the run of its job."""
    out = tmp_path / "run"
    words = torchrun(command(pictures, out, *LONG, "--checkpoint-minutes", "0"), "--max-restarts", "1")
    done = disturbed(words, out, signal.SIGKILL)
    assert done.status == 0, done.stderr
    assert "resumed after" in done.stderr
    assert same_weights(out, whole[0])
    assert (out / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_sigterm_ends_all_processes_after_the_same_step(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = disturbed(torchrun(command(pictures, out, "--epochs", "4000", "--batch-size", "4")), out, signal.SIGTERM)
    assert done.status > 0
    assert done.stderr.count("stopped by SIGTERM after") == 1, done.stderr
    assert "exitcode  : 143" in done.stderr or "exitcode: 143" in done.stderr, done.stderr
    assert torch.load(out / CHECKPOINT, weights_only=True)["batches_done"] > 0


def test_what_is_wrong_in_all_processes_is_said_once(pictures: Path, whole: tuple[Path, str, str], tmp_path: Path) -> None:
    """Also with restarts: a run of another job is not resumed without --resume."""
    done = finished(torchrun(command(pictures, whole[0], *LONG), "--max-restarts", "1"))
    assert done.status > 0
    assert done.stdout == ""
    assert done.stderr.count("already contains a run; continue it with --resume") == 2  # once per attempt


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


# -- several heads -------------------------------------------------------------------------------------------------------------------

JOINT = "--task one=classification --task two=classification --set image_size=32 --set batch_size=4 --epochs 3 --grad-accumulation 2"


def test_heads_are_trained_together_as_in_one_process(pictures: Path, tmp_path: Path) -> None:
    """The losses, learned weights and order of the batches are those of one process, whichever heads a batch has."""

    def words(out: str, *more: str) -> list[str]:
        data = [f"--data=one=folder:{pictures}", f"--data=two=folder:{pictures}?limit=12"]
        start = ["train", *data, "--out", str(tmp_path / out), *WORDS.replace("--image-size 32 ", "").split(), *JOINT.split()]
        return [*start, "--mix", "temperature=2", "--loss-weights", "uncertainty", "--quiet", *more]

    done = start_together(2, None, *words("two"))
    assert [each.status for each in done] == [0, 0], done
    assert run_job(Job(words("one", "--set", "batch_size=8"))).status == 0
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(two) == 3 * 5
    assert two == pytest.approx(one, abs=1e-4)
    learned = [json.loads((tmp_path / out / "metrics.jsonl").read_text().splitlines()[-1])["log_variances"] for out in ("one", "two")]
    assert learned[1] == pytest.approx(learned[0], abs=1e-5)
    assert set(learned[0]) == {"one", "two"}
    assert 0 not in learned[0].values()
