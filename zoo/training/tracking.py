"""Curves for people who watch several runs at once: TensorBoard, and the other trackers that Accelerate knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker, filter_trackers, get_available_trackers

from zoo.errors import InputError, UnknownNameError
from zoo.task.recipe import Recipe, to_toml

FOLDER = "tensorboard"  # inside a run's
_PROJECT = "resnet-zoo"  # under which trackers that keep runs elsewhere file them


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of trackers, each once, that can be used here.

    Raises:
        UnknownNameError: a tracker that Accelerate doesn't know.
        InputError: one whose package isn't installed; with the command that does it.
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
    """Hands a training's numbers to the trackers; with no trackers it does nothing.

    A run that goes on writes into the same place. What had been logged beyond the checkpoint that it goes on from is logged anew:
    TensorBoard drops the older of the two.
    """

    def __init__(self, accelerator: Accelerator, names: Sequence[str], folder: Path, recipe: Recipe, step: int = 0) -> None:
        """Start the trackers.

        Args:
            accelerator: of the training; of several processes the first one logs.
            names: of `check_trackers`.
            folder: the run's; TensorBoard's files stand in its folder tensorboard/.
            recipe: the settings, which are logged once.
            step: optimiser steps that an interrupted run had behind it.
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
            if tracker.name == "tensorboard":  # it would file settings as two more runs, named after the time
                tracker.log({"recipe": f"```\n{to_toml(recipe)}```"}, step=0)
            else:
                tracker.store_init_configuration(settings)

    def step(self, step: int, loss: float, lr: float) -> None:
        """Log an optimiser step.

        Args:
            step: its number, from 1.
            loss: of its pictures.
            lr: learning rate it was made with.
        """
        if self._any:
            self._accelerator.log({"train/loss": loss, "train/lr": lr}, step=step)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Log the end of an epoch; before its checkpoint is written, so that an epoch may be logged twice, but never be missed.

        Args:
            entry: as in metrics.jsonl.
        """
        if self._any:
            scores = {f"val/{name}": float(value) for name, value in entry.get("val", {}).items() if value is not None}
            self._accelerator.log({"epoch/number": entry["epoch"], "epoch/loss": entry["loss"], **scores}, step=entry["step"])

    def end(self) -> None:
        """Let the trackers write what they hold; the process group of several processes goes on."""
        for tracker in self._accelerator.trackers if self._any else ():
            tracker.finish()
