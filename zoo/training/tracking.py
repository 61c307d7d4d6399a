"""Progress bars of a training run, and experiment tracking with TensorBoard and other trackers supported by Accelerate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker, filter_trackers, get_available_trackers

from zoo.errors import InputError, UnknownNameError
from zoo.system.progress import Progress
from zoo.task.recipe import RunRecipe, to_toml

FOLDER = "tensorboard"  # subfolder of the run folder
_PROJECT = "resnet-zoo"  # project name in trackers other than TensorBoard


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of trackers without duplicates. Raise an `InputError` if Accelerate doesn't support one, or it isn't installed."""
    known, installed = [str(name) for name in LOGGER_TYPE_TO_CLASS], {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UnknownNameError("tracker", name, known)
        if name not in installed:
            package = "'resnet-zoo[track]'" if name == "tensorboard" else name.replace("_", "-")
            raise InputError(f"--track {name} needs a package that is not installed. Install it with: pip install {package}")
    return tuple(dict.fromkeys(names))


class Tracking:
    """Logger of a run's metrics. Without trackers, its methods have no effect.

    A resumed run logs to the same place as the original run. Steps after the checkpoint are logged a second time, and TensorBoard discards
    the earlier entries.
    """

    def __init__(self, accelerator: Accelerator, names: Sequence[str], folder: Path, recipe: RunRecipe, step: int = 0) -> None:
        """Start the trackers, and log the recipe unless the run is resumed. Only the first process logs.

        `names` are those returned by `check_trackers`. TensorBoard's files are written to the subfolder tensorboard/ of the run's folder.
        `step` is the number of finished optimiser steps of a resumed run.
        """
        self._accelerator, self._any = accelerator, bool(names)
        if not names:
            return
        trackers: list[str | GeneralTracker] = [name for name in names if name != "tensorboard"]
        if "tensorboard" in names:
            trackers.append(TensorBoardTracker(FOLDER, folder, purge_step=step + 1 if step else None))
        accelerator.project_configuration.set_directories(str(folder))
        accelerator.log_with = filter_trackers(trackers, accelerator.logging_dir)
        accelerator.init_trackers(_PROJECT)
        settings = recipe.settings()
        for tracker in accelerator.trackers if not step else ():
            if tracker.name == "tensorboard":  # store_init_configuration would create two additional runs, named after the time
                tracker.log({"recipe": f"```\n{to_toml(recipe)}```"}, step=0)
            else:
                tracker.store_init_configuration(settings)

    def step(self, step: int, loss: float, lr: float) -> None:
        """Log loss and learning rate of an optimiser step. Steps are numbered from 1."""
        if self._any:
            self._accelerator.log({"train/loss": loss, "train/lr": lr}, step=step)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Log the metrics of an epoch, before its checkpoint is written, so that an interruption may log it twice, but never loses it."""
        if self._any:
            scores = {f"val/{name}": float(value) for name, value in entry.get("val", {}).items() if value is not None}
            self._accelerator.log({"epoch/number": entry["epoch"], "epoch/loss": entry["loss"], **scores}, step=entry["step"])

    def end(self) -> None:
        """Flush and close the trackers. The process group stays open."""
        for tracker in self._accelerator.trackers if self._any else ():
            tracker.finish()


class TrainingProgress:
    """Progress bars of the epoch and the whole run, with loss, last validation score, images per second, and remaining time."""

    def __init__(self, progress: Progress, epochs: int, per_epoch: int) -> None:
        """Create the display of a run of `epochs` epochs with `per_epoch` batches each."""
        self._progress, self._epochs, self._per_epoch = progress, epochs, per_epoch
        self._scores: Mapping[str, float | None] = {}
        self._pictures, self._start = 0, time.monotonic()

    def begin_run(self, done: int) -> None:
        """Start the bar of the run. `done` is the number of batches that are already finished."""
        self._progress.begin_whole("run", self._epochs * self._per_epoch, done)

    def begin_epoch(self, done: int) -> None:
        """Start the bar of the next epoch, if there is one. `done` is the number of finished batches of the run."""
        epoch, in_epoch = divmod(done, self._per_epoch)
        self._pictures, self._start = 0, time.monotonic()
        if epoch < self._epochs:
            self._progress.begin(f"epoch {epoch + 1}/{self._epochs}", self._per_epoch, in_epoch)

    def scored(self, scores: Mapping[str, float | None]) -> None:
        """Set the validation scores to display by name. Those that are None aren't displayed."""
        self._scores = scores

    def batch(self, loss: float, pictures: int) -> None:
        """Advance both bars by one batch of `pictures` images over all processes. `loss` is the mean of the epoch so far."""
        self._pictures += pictures
        rate = self._pictures / max(time.monotonic() - self._start, 1e-9)
        score = "".join(f"{name} {value:.4f}, " for name, value in self._scores.items() if value is not None)
        self._progress.advance_whole()
        self._progress.advance(f"loss {loss:.3f}, {score}{rate:.{0 if rate >= 10 else 1}f} images/s")
