"""Experiment tracking with TensorBoard and the other trackers that Accelerate supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker, filter_trackers, get_available_trackers

from zoo.errors import InputError, UnknownNameError
from zoo.task.recipe import Recipe, to_toml

FOLDER = "tensorboard"  # subfolder of the run's folder
_PROJECT = "resnet-zoo"  # project name in trackers that store runs elsewhere


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Check that trackers are available, and return their names without duplicates.

    Raises:
        UnknownNameError: Accelerate doesn't support the tracker.
        InputError: the tracker's package isn't installed; the message shows the command that installs it.
    """
    known, installed = [str(name) for name in LOGGER_TYPE_TO_CLASS], {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UnknownNameError("tracker", name, known)
        if name not in installed:
            package = "'resnet-zoo[track]'" if name == "tensorboard" else name.replace("_", "-")
            raise InputError(f"--track {name} needs a package that is not installed: pip install {package}")
    return tuple(dict.fromkeys(names))


class Tracking:
    """Logs the metrics of a run to trackers; without trackers, it has no effect.

    A resumed run logs to the same place. Steps after its checkpoint are logged a second time; TensorBoard discards the earlier entries.
    """

    def __init__(self, accelerator: Accelerator, names: Sequence[str], folder: Path, recipe: Recipe, step: int = 0) -> None:
        """Start the trackers, and log the recipe unless the run is resumed; of several processes, only the first one logs.

        Args:
            accelerator: accelerator of the training run.
            names: names of trackers, as returned by `check_trackers`.
            folder: folder of the run; TensorBoard's files are written to its subfolder tensorboard/.
            recipe: the training settings.
            step: number of steps that a resumed run has already finished.
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
            if tracker.name == "tensorboard":  # store_init_configuration would log the settings as two more runs, named after the time
                tracker.log({"recipe": f"```\n{to_toml(recipe)}```"}, step=0)
            else:
                tracker.store_init_configuration(settings)

    def step(self, step: int, loss: float, lr: float) -> None:
        """Log an optimiser step; steps are numbered from 1."""
        if self._any:
            self._accelerator.log({"train/loss": loss, "train/lr": lr}, step=step)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Log the entry of an epoch; called before its checkpoint is written, so that an epoch may be logged twice but is never lost."""
        if self._any:
            scores = {f"val/{name}": float(value) for name, value in entry.get("val", {}).items() if value is not None}
            self._accelerator.log({"epoch/number": entry["epoch"], "epoch/loss": entry["loss"], **scores}, step=entry["step"])

    def end(self) -> None:
        """Flush and close the trackers; the process group stays open."""
        for tracker in self._accelerator.trackers if self._any else ():
            tracker.finish()
