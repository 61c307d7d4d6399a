"""A run on a full disk, or in a folder without permission: the last complete files stay, and the error names what is missing."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from tests.pictures import COLOURS
from tests.small_training import RECIPE, begun, coloured, fresh, same
from tests.unit.system.full_disk import files_up_to
from zoo.cli.main import main
from zoo.models.archive import load, save
from zoo.models.builder import build
from zoo.system.disk import StorageError, save_tensors
from zoo.training.checkpoints import CHECKPOINT
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_where_there_is_no_room_the_last_checkpoint_is_intact(tmp_path: Path, whole: Path) -> None:
    out = begun(tmp_path / "run")
    before = (out / CHECKPOINT).read_bytes()
    message = (
        r"last\.pt: can't be written \(File too large\); it needs about 4\.\d MB, [\d,.]+ MB are free\. Free some space \(or raise "
        r"the quota or the file size limit\), then continue with the same command and --resume: the last checkpoint on disk is complete"
    )
    with files_up_to(1_000_000), pytest.raises(StorageError, match=message) as caught:
        train(fresh(), coloured(), None, RECIPE, out, resume=True)
    assert caught.value.exit_status == 2
    assert (out / CHECKPOINT).read_bytes() == before
    assert os.listdir(out / "checkpoints") == ["last.pt"]
    train(fresh(), coloured(), None, RECIPE, out, resume=True)
    assert same(load(out).state_dict(), load(whole).state_dict())


def test_no_room_for_the_final_model(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    with (
        files_up_to(1_000_000),
        pytest.raises(StorageError, match=r"run/model: can't be written \(File too large\); it needs about 1\.5 MB"),
    ):
        train(fresh(), coloured(), None, RECIPE, out, resume=True)
    assert same(load(out).state_dict(), load(whole).state_dict())  # the previous model is untouched
    with files_up_to(1_000_000), pytest.raises(OSError, match="File too large"):
        save(build("test_resnet", classes=sorted(COLOURS)), tmp_path / "saved")


def test_safetensors_errors_that_are_not_the_disks_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise SafetensorError("invalid")

    monkeypatch.setattr("zoo.system.disk.save_file", refuse)
    with pytest.raises(SafetensorError, match="invalid"):
        save_tensors({}, tmp_path / "x")


def test_room_is_looked_at_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.system.disk.shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 5_000_000, 5_000_000))
    message = r"run: 5\.0 MB are free, but the run's checkpoints need about 9\.\d MB; free some space, or choose another folder with --out"
    with pytest.raises(StorageError, match=message):
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
    monkeypatch.undo()
    train(fresh(), coloured(), None, RECIPE, tmp_path / "run")  # --resume isn't needed, because the run hadn't begun


def test_a_folder_that_can_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's error is simulated, because permissions don't apply to root."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("zoo.training.checkpoints.RunLock", refuse)
    words = ["train", "--data", "demo:digits?limit=20", "--backbone", "test_resnet", "--image-size", "32", "--out", str(tmp_path / "run")]
    assert main([*words, "--workers", "0"]) == 2
    remedy = "check the permissions and that the disk is writable, or choose another folder with --out"
    assert capsys.readouterr().err.splitlines()[-1] == f"zoo: {tmp_path / 'run'}: can't be written (Read-only file system); {remedy}"


def test_errors_of_other_kinds_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("an internal error")

    monkeypatch.setattr("zoo.training.checkpoints.torch.save", fail)
    with pytest.raises(RuntimeError, match="an internal error"):
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run")
