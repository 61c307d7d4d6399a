"""Folder of a run: which folders are refused, and that the last files written are always complete."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.forking import Job, start_job
from tests.pictures import cut_short
from tests.small_training import RECIPE, begun, coloured, fresh, same
from zoo.errors import InputError
from zoo.models.archive import load
from zoo.system.files import remove_drafts
from zoo.training.checkpoints import BEST, CHECKPOINT, LOCK, RunFolder, RunLock
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


# -- which folders are refused ------------------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    with pytest.raises(InputError, match="run already contains a run; continue it with --resume, or choose another folder with --out"):
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": replace(RECIPE, lr=0.5, flip=0.0)}, r"recipe: lr was 0\.001, is 0\.5; recipe: flip was 0\.5, is 0\.0\. Use"),
        ({"recipe": replace(RECIPE, freeze="norm")}, r"recipe: freeze was not set, is norm; model: freeze was none, is norm\. Use"),
        ({"data": coloured(9)}, r"samples was 12, is 9; manifest was [0-9a-f]{16}, is [0-9a-f]{16}\. Use"),
        ({"val": coloured()}, r"val was not set, is coloured; val_manifest was not set, is [0-9a-f]{16}\. Use"),
        ({"model": {"image_size": 48}}, r"model: options: image_size was 32, is 48; "),
        (
            {"exact": True},
            r"exact was False, is True\. Use the original settings and data \(see recipe\.toml and run\.json in this folder\), or",
        ),
    ],
)
def test_another_run_is_not_continued_and_every_difference_is_listed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    begun(tmp_path / "run")
    arguments = {"data": coloured(), "val": None, "recipe": RECIPE, **change}
    with pytest.raises(InputError, match=f"run: this run can't be resumed with different settings or data: {message}"):
        train(fresh(**arguments.pop("model", {})), **arguments, out=tmp_path / "run", resume=True)


def test_samples_in_another_order_or_with_another_label_are_other_data(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    data = coloured()
    relabelled = replace(data.records[0], target=(data.records[0].target + 1) % 3)
    for records in (data.records[::-1], (relabelled, *data.records[1:])):
        with pytest.raises(
            InputError, match=r"run: this run can't be resumed with different settings or data: manifest was \w+, is \w+\. Use"
        ):
            train(fresh(), replace(data, records=records), None, RECIPE, tmp_path / "run", resume=True)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """Also if it contains a recipe written by the user."""
    for name in ("photo.jpg", "recipe.toml"):
        place = tmp_path / name.split(".")[0]
        place.mkdir()
        (place / name).write_text("precious")
        for resume in (False, True):
            with pytest.raises(InputError, match="exists and is not a training run; choose another folder with --out"):
                train(fresh(), coloured(), None, RECIPE, place, resume=resume)
        assert os.listdir(place) == [name]


def test_a_run_that_was_killed_while_it_began_begins_anew(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    (out / LOCK).write_text("1234 ")
    shutil.copy(whole / "recipe.toml", out / "recipe.toml")
    (out / ".run.json-x1y2z3.part").write_text("{")
    train(fresh(), coloured(), None, RECIPE, out, resume=True)
    assert same(load(out).state_dict(), load(whole).state_dict())


HOLDS = """
import os, sys, time
from pathlib import Path
from zoo.training.checkpoints import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.sign()
Path(sys.argv[2] + ".part").write_text(str(os.getpid()))
os.replace(sys.argv[2] + ".part", sys.argv[2])
time.sleep(300)
"""


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, whole: Path) -> None:
    """The lock is released when the process ends, even if it is killed."""
    out = begun(tmp_path / "run")
    held = tmp_path / "held"
    holder = start_job(Job([str(out), str(held)], HOLDS))
    while not held.exists():
        assert not holder.done(), holder.result()
        time.sleep(0.01)
    pid = int(held.read_text())
    try:
        words = rf"run: another process \(PID {pid}\) is training there; wait for it or stop it, or choose another folder"
        with pytest.raises(InputError, match=words):
            train(fresh(), coloured(), None, RECIPE, out, resume=True)
    finally:
        os.kill(pid, signal.SIGKILL)
        holder.result()
    train(fresh(), coloured(), None, RECIPE, out, resume=True)
    assert same(load(out).state_dict(), load(whole).state_dict())


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def unsupported(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", unsupported)
    RunLock(tmp_path).release()
    assert "this file system doesn't support locks" in caplog.text


@pytest.mark.parametrize(
    ("environment", "goes_on"),
    [
        ({"TORCHELASTIC_RUN_ID": "job-1", "TORCHELASTIC_RESTART_COUNT": "1"}, True),
        ({"TORCHELASTIC_RUN_ID": "job-1", "TORCHELASTIC_RESTART_COUNT": "0"}, False),
        ({"TORCHELASTIC_RUN_ID": "job-2", "TORCHELASTIC_RESTART_COUNT": "1"}, False),
        ({}, False),
    ],
)
def test_only_the_job_that_began_a_run_goes_on_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], goes_on: bool
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-1")
    begun(tmp_path / "run")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if goes_on:
        assert len(train(fresh(), coloured(), None, RECIPE, tmp_path / "run").history) == 2
        return
    with pytest.raises(InputError, match="already contains a run"):
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run")


def test_without_an_id_a_job_is_known_by_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    begun(tmp_path / "run")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert len(train(fresh(), coloured(), None, RECIPE, tmp_path / "run").history) == 2


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_checkpoints_within_an_epoch_come_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of three batches: a checkpoint after each epoch, or after every batch (twice after the last batch of an epoch)."""
    saved: list[int] = []
    original = RunFolder.save

    def save_and_tell(self: RunFolder, state: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        saved.append(state["batches_done"])
        original(self, state, history)

    monkeypatch.setattr(RunFolder, "save", save_and_tell)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    train(fresh(), coloured(), None, RECIPE, tmp_path / "ends", checkpoint_minutes=1000)
    assert saved == [3, 6]
    saved.clear()
    train(fresh(), coloured(), None, RECIPE, tmp_path / "all", checkpoint_minutes=0)
    assert sorted(set(saved)) == [1, 2, 3, 4, 5, 6]
    saved.clear()
    monkeypatch.setattr("zoo.training.checkpoints.time", SimpleNamespace(monotonic=clock))  # one second passes per call
    train(fresh(), coloured(), None, RECIPE, tmp_path / "some", checkpoint_minutes=2 / 60)
    assert saved == [2, 3, 4, 6]
    with pytest.raises(InputError, match=r"checkpoint_minutes is -1; expected 0 \(after every step\) or more"):
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run", checkpoint_minutes=-1)


def test_a_resumed_run_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    out = begun(tmp_path / "run")
    (out / "checkpoints" / ".last.pt-abc.part").write_bytes(b"half")
    (out / ".metrics.jsonl-abc.part").write_bytes(b"half")
    (out / ".model-abc.part").mkdir()
    (out / ".model-abc.part-old").mkdir()
    (out / ".model-abc.part-old" / "model.json").write_text("{}")
    (out / ".notes").write_text("mine")
    train(fresh(), coloured(), None, RECIPE, out, resume=True)
    assert {path.name for path in out.iterdir()} == {
        "recipe.toml", "run.json", "metrics.jsonl", "checkpoints", "model", "report.html", LOCK, ".notes"
    }  # fmt: skip
    assert os.listdir(out / "checkpoints") == ["last.pt"]
    assert remove_drafts(out) == []


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_content(path: Path) -> None:
    torch.save({"batches_done": 1}, path)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (CHECKPOINT, cut_short, r"last\.pt: the checkpoint can't be read"),
        (CHECKPOINT, flip_a_bit, r"last\.pt: the checkpoint can't be read \(the checksum of \S+ is wrong\)"),
        (CHECKPOINT, other_content, r"last\.pt is not a checkpoint of this run \(KeyError"),
        (Path("run.json"), cut_short, r"run\.json is damaged \("),
        (Path("run.json"), lambda path: path.write_text("[]"), r"run\.json is damaged \(it contains a list\)"),
        (Path("recipe.toml"), lambda path: path.write_text("lr = = 1"), r"recipe\.toml is damaged \("),
        (Path("recipe.toml"), Path.unlink, r"recipe\.toml is damaged \(.*No such file"),
    ],
)
def test_damaged_runs(tmp_path: Path, file: Path, damage: Any, message: str) -> None:
    out = begun(tmp_path / "run")
    damage(out / file)
    with pytest.raises(InputError, match=f"{message}.*; start the run again"):
        train(fresh(), coloured(), None, RECIPE, out, resume=True)


def test_the_best_weights_are_missed(tmp_path: Path) -> None:
    train(fresh(), coloured(), coloured(), RECIPE, tmp_path / "run")
    (tmp_path / "run" / BEST).unlink()
    with pytest.raises(InputError, match=r"best\.pt: the weights of the best epoch are missing; start the run again"):
        train(fresh(), coloured(), coloured(), RECIPE, tmp_path / "run", resume=True)
