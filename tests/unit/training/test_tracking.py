"""Trackers: logged values, read back from TensorBoard's files, and errors if a package is missing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import Accelerator
from accelerate import tracking as accelerate_tracking
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType

from tests.small_training import RECIPE, StopAt, coloured, fresh
from zoo.cli.main import main
from zoo.errors import InputError, UnknownNameError
from zoo.system.signals import Interrupted
from zoo.task.recipe import Recipe
from zoo.training.tracking import FOLDER, Tracking, check_trackers
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def read(folder: Path) -> Any:
    """Return TensorBoard's view of a run."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard (extra [track])")
    found = module.EventAccumulator(str(folder / FOLDER), size_guidance={"scalars": 0})
    found.Reload()
    return found


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 4)) for event in read(folder).Scalars(name)]


def entry(step: int, **val: float | None) -> dict[str, Any]:
    return {"epoch": step // 2, "step": step, "loss": 1 / step, "val": val}


def test_tensorboard_s_files_hold_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard (extra [track])")
    tracking = Tracking(Accelerator(cpu=True), check_trackers(["tensorboard", "tensorboard"]), tmp_path, Recipe(lr=0.5))
    tracking.step(1, 2.0, 0.25)
    tracking.step(2, 1.5, 0.5)
    tracking.epoch(entry(2, top1=0.75, auc=None))
    tracking.end()
    assert scalars(tmp_path, "train/loss") == [(1, 2.0), (2, 1.5)]
    assert scalars(tmp_path, "train/lr") == [(1, 0.25), (2, 0.5)]
    assert scalars(tmp_path, "val/top1") == [(2, 0.75)]
    assert scalars(tmp_path, "epoch/loss") == [(2, 0.5)]
    assert scalars(tmp_path, "epoch/number") == [(2, 1)]
    assert "val/auc" not in read(tmp_path).Tags()["scalars"]
    (recipe,) = read(tmp_path).Tensors("recipe/text_summary")
    assert b"lr = 0.5" in recipe.tensor_proto.string_val[0]
    assert len(list((tmp_path / FOLDER).iterdir())) == 1, "a single run, without extra runs for the settings"


def test_a_resumed_run_goes_on_in_the_same_folder_without_doubles(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard (extra [track])")
    first = Tracking(Accelerator(cpu=True), ["tensorboard"], tmp_path, Recipe())
    for step in (1, 2, 3, 4, 5):  # the checkpoint is at step 3: 4 and 5 are lost
        first.step(step, 10.0 + step, 0.1)
    first.epoch(entry(4, top1=0.1))
    first.end()
    again = Tracking(Accelerator(cpu=True), ["tensorboard"], tmp_path, Recipe(), step=3)
    for step in (4, 5, 6):
        again.step(step, 20.0 + step, 0.1)
    again.epoch(entry(4, top1=0.2))
    again.end()
    assert scalars(tmp_path, "train/loss") == [(1, 11), (2, 12), (3, 13), (4, 24), (5, 25), (6, 26)]
    assert scalars(tmp_path, "val/top1") == [(4, 0.2)]
    assert len(read(tmp_path).Tensors("recipe/text_summary")) == 1


class Notebook(GeneralTracker):  # type: ignore[misc]
    """Tracker that stores its values in memory and needs no folder, like trackers that store them remotely."""

    name = "wandb"
    requires_logging_directory = False
    made: ClassVar[list[Notebook]] = []

    def __init__(self, project: str) -> None:
        super().__init__()
        self.project, self.config, self.lines, self.finished = project, dict[str, Any](), list[Any](), False
        self.made.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.finished = True


def test_other_trackers_get_the_same_numbers_and_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate_tracking, "_available_trackers", [LoggerType.WANDB])
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "wandb", Notebook)
    tracking = Tracking(Accelerator(cpu=True), check_trackers(["wandb"]), tmp_path, Recipe(lr=0.5))
    tracking.step(1, math.inf, 0.25)
    tracking.epoch({"epoch": 1, "step": 1, "loss": 2.0})
    tracking.end()
    (notebook,) = Notebook.made
    assert notebook.project == "resnet-zoo"
    assert notebook.config["lr"] == 0.5
    assert "epochs" not in notebook.config, "None: chosen automatically"
    assert notebook.lines == [(1, {"train/loss": math.inf, "train/lr": 0.25}), (1, {"epoch/number": 1, "epoch/loss": 2.0})]
    assert notebook.finished
    assert list(tmp_path.iterdir()) == []


def test_without_trackers_nothing_is_written(tmp_path: Path) -> None:
    tracking = Tracking(Accelerator(cpu=True), check_trackers([]), tmp_path, Recipe())
    tracking.step(1, 1.0, 0.1)
    tracking.epoch(entry(2))
    tracking.end()
    assert list(tmp_path.iterdir()) == []


def test_trackers_that_can_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown tracker 'tensorbord'\. Nearest: tensorboard"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr(accelerate_tracking, "_available_trackers", [])
    with pytest.raises(
        InputError, match=r"--track tensorboard needs .* not installed\. Install it with: pip install 'resnet-zoo\[track\]'"
    ):
        check_trackers(["tensorboard"])
    with pytest.raises(InputError, match=r"--track comet_ml needs .* not installed\. Install it with: pip install comet-ml$"):
        check_trackers(["comet_ml"])


def test_a_training_is_tracked_through_an_interruption(tmp_path: Path) -> None:
    """Three batches per epoch; interrupted after the fourth, with a checkpoint there."""
    pytest.importorskip("tensorboard", reason="needs tensorboard (extra [track])")
    with pytest.raises(Interrupted):
        train(fresh(), coloured(), coloured(6), RECIPE, tmp_path / "run", track=["tensorboard"], progress=StopAt(4))
    assert [step for step, _ in scalars(tmp_path / "run", "train/loss")] == [1, 2, 3, 4]
    run = train(fresh(), coloured(), coloured(6), RECIPE, tmp_path / "run", resume=True, track=["tensorboard"])
    assert [step for step, _ in scalars(tmp_path / "run", "train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in scalars(tmp_path / "run", "train/lr")][-1] == round(run.history[-1]["lr"], 4)
    assert scalars(tmp_path / "run", "epoch/loss") == [(entry["step"], round(entry["loss"], 4)) for entry in run.history]
    tags = read(tmp_path / "run").Tags()["scalars"]
    scores = {name for name, value in run.history[0]["val"].items() if value is not None}
    assert {tag.removeprefix("val/") for tag in tags if tag.startswith("val/")} == scores
    for name in scores:
        expected = [(entry["step"], round(entry["val"][name], 4)) for entry in run.history if entry["val"][name] is not None]
        assert dict(scalars(tmp_path / "run", f"val/{name}")) == pytest.approx(dict(expected), abs=1e-4)


def test_a_tracker_that_can_not_be_used_is_said_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data", "demo:digits?limit=8", "--backbone", "resnet20", "--out", str(tmp_path / "run")]
    assert main([*words, "--track", "tensorboard, wandbb"]) == 2
    assert "unknown tracker 'wandbb'. Nearest: wandb" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
