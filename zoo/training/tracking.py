"""Experiment tracking with TensorBoard and other trackers supported by Accelerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker, filter_trackers, get_available_trackers

from zoo.errors import InputError, UnknownNameError
from zoo.task.recipe import Recipe, to_toml

FOLDER = "tensorboard"  # subfolder of the run folder
_PROJECT = "resnet-zoo"  # project name in trackers other than TensorBoard


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Check that all trackers are available, and return their names without duplicates.

    Raises:
        UnknownNameError: Accelerate doesn't support a tracker.
        InputError: the package of a tracker isn't installed. The message contains the installation command.
    """
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

    def __init__(self, accelerator: Accelerator, names: Sequence[str], folder: Path, recipe: Recipe, step: int = 0) -> None:
        """Start the trackers, and log the recipe unless the run is resumed. Only the first process logs.

        Args:
            accelerator: accelerator of the training run.
            names: names of trackers, as returned by `check_trackers`.
            folder: folder of the run. TensorBoard files are written to its subfolder tensorboard/.
            recipe: the training settings.
            step: number of finished optimiser steps of a resumed run; 0 for a new run.
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
        if not step:
            self._describe(recipe)

    def _describe(self, recipe: Recipe) -> None:
        settings = {name: value for name, value in asdict(recipe).items() if value is not None}
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":  # store_init_configuration would create two additional runs, named after the time
                tracker.log({"recipe": f"```\n{to_toml(recipe)}```"}, step=0)
            else:
                tracker.store_init_configuration(settings)

    def step(self, step: int, loss: float, lr: float) -> None:
        """Log loss and learning rate of an optimiser step. Steps are numbered from 1."""
        if self._any:
            self._accelerator.log({"train/loss": loss, "train/lr": lr}, step=step)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Log the metrics of an epoch.

        It is called before the checkpoint is written, so an epoch may be logged twice after an interruption, but is never lost.
        """
        if self._any:
            scores = {f"val/{name}": float(value) for name, value in entry.get("val", {}).items() if value is not None}
            self._accelerator.log({"epoch/number": entry["epoch"], "epoch/loss": entry["loss"], **scores}, step=entry["step"])

    def end(self) -> None:
        """Flush and close the trackers. The process group stays open."""
        for tracker in self._accelerator.trackers if self._any else ():
            tracker.finish()
