"""Fine-tuning: from a model, data and a recipe to a run."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset, OnError
from zoo.data.reading import Reading
from zoo.errors import Fault, InputError
from zoo.images.headers import MAX_PIXELS
from zoo.models.archive import save
from zoo.models.classes import match_classes
from zoo.models.model import Model
from zoo.system.disk import storing, tensor_bytes
from zoo.system.hardware import pick_device
from zoo.system.processes import Processes, bound
from zoo.system.progress import Progress
from zoo.task.contract import Task, get_task
from zoo.task.pooling import RememberingHead
from zoo.task.recipe import Recipe
from zoo.task.scores import Scores
from zoo.training.alignment import Alignment
from zoo.training.batches import RunData
from zoo.training.folder import CHECKPOINT, RunFolder
from zoo.training.loop import TrainingLoop
from zoo.training.memorizing import Memorizing
from zoo.training.report import Trained, write_training_report
from zoo.training.tracking import check_trackers


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        model: the trained model, in evaluation mode (with validation data, that of the best epoch, and of several as good the last).
        folder: where everything was written.
        history: one entry per epoch, as in metrics.jsonl.
        scores: of this model on the validation data; None without.
        skipped: pictures and annotations that were left out on the caller's word.
        not_finite: batches that were left out because their loss was not a number (`on_nan` is "skip").
        seconds: wall-clock time of this call.
    """

    model: Model
    folder: Path
    history: list[dict[str, Any]]
    scores: Scores | None
    skipped: tuple[Fault, ...]
    not_finite: int
    seconds: float


def train(
    model: Model,
    data: object,
    val: object = None,
    recipe: Recipe | None = None,
    out: str | Path = "runs/last",
    *,
    resume: bool = False,
    device: str = "auto",
    on_error: OnError = "raise",
    exact: bool = False,
    max_pixels: int = MAX_PIXELS,
    checkpoint_minutes: float = 10.0,
    track: Sequence[str] = (),
    progress: Progress | None = None,
    align: object = None,
) -> Run:
    """Fine-tune a model, in place.

    Args:
        model: from `zoo.build` or `zoo.load`.
        data: what to train on: a dataset string, a path, or a sequence of samples.
        val: what to score on after every epoch.
        recipe: the settings; None for the task's defaults.
        out: the run's folder, which must be new unless `resume` is true.
        resume: continue the run in `out` from its last checkpoint.
        device: "auto" or a torch device.
        on_error: "skip" leaves out what can't be read, and says so.
        exact: decode every picture whole; otherwise a JPEG much larger than the model's input is decoded at a reduced scale.
        max_pixels: larger pictures are refused before they are decoded.
        checkpoint_minutes: between two checkpoints within an epoch, which has one at its end anyway; 0 for one after every step.
        track: trackers that are told how it goes, by Accelerate's names: "tensorboard" (its files stand in `out`/tensorboard), "wandb", …
        progress: where bars and lines are drawn (by the first of several processes); None for nowhere.
        align: of face models, what finds the face of each picture (the main one), which is aligned to the model's `alignment`; as
            `detector` of `zoo.predict`. A training picture without a face is an error, or with `on_error="skip"` left out and listed;
            validation skips and counts it. None for data that is aligned, or has no need.

    Returns:
        The run; its model is saved in `out`/model, and its report is `out`/report.html.

    Raises:
        InputError: an option or the data is wrong, there is no room in `out`, or another process trains there.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    if model.compiled:
        raise InputError("a compiled model can't be trained: train the model it was made from, and compile it again")
    with bound():
        processes = Processes(pick_device(device))
    quiet = progress is None or not processes.first
    task, progress = get_task(model.task), Progress(enabled=False) if progress is None or quiet else progress
    track = check_trackers(track)
    recipe = recipe if recipe is not None else task.data.recipe()
    if not isinstance(recipe, task.data.recipe):
        raise InputError(f"recipe is a {type(recipe).__name__}; the task {task.name} takes a {task.data.recipe.__name__}")
    recipe = task.data.suit(recipe, task.parse_options(model.config.options))
    start = time.perf_counter()
    with bound(), RunFolder(Path(out), processes.first, checkpoint_minutes) as folder:
        with processes.together():
            dataset = _open(task, data, model, on_error, progress)
            validation = None if val is None else _open(task, val, model, on_error, progress, closed=not task.data.open_set)
            reading = Reading(device=device, on_error=on_error, exact=exact, max_pixels=max_pixels, progress=progress)
            alignment = None
            if align is not None:
                alignment = Alignment(model, task, align, reading, processes, progress)
                dataset, validation = alignment.training(dataset), alignment.validation(validation)
            _check_rare(task, dataset, recipe, progress)
            _say_unscored(task, validation, progress)
            chosen, recipe = recipe, settle(recipe, len(dataset), processes.count, task.data.recipes, progress)
            how = None if alignment is None else alignment.details
            inputs = RunData(model, task, dataset, validation, recipe, processes, reading, how)
            loop = Memorizing(inputs, track) if isinstance(model.head, RememberingHead) else TrainingLoop(inputs, track)
            folder.open(loop.describe(), recipe, resume, loop.checkpoint_bytes())
            if resume and not (folder.path / CHECKPOINT).is_file():
                progress.say(f"{folder.path}: there is no checkpoint to continue from; the run begins anew")
        loop.run(folder)
        model.metadata |= task.building.metadata(task.parse_options(model.config.options))  # a threshold of before holds no longer
        model.metadata |= {} if loop.scores is None else task.building.trained_metadata(loop.scores)
        model.metadata["training"] = loop.summary()
        model.eval()
        skipped = (*dataset.skipped, *loop.skipped.values())
        if processes.first:
            with storing(folder.path / "model", tensor_bytes(model.state_dict())):
                save(model, folder.path / "model")
            told = Trained(model, dataset, validation, loop.history, loop.scores, chosen, recipe, skipped, loop.seconds)
            write_training_report(folder.path, told, progress)
        processes.wait()  # until the model is there for all
    return Run(model, folder.path, loop.history, loop.scores, skipped, loop.not_finite, time.perf_counter() - start)


def _open(task: Task, data: object, model: Model, on_error: OnError, progress: Progress, closed: bool = True) -> Dataset:
    opened = task.open(data, on_error, progress.say)
    for fault in opened.skipped:
        progress.say(f"left out: {fault}")
    if not closed:
        return opened
    if task.data.open_set and opened.classes and len(opened.classes) != len(model.classes):
        raise InputError(
            f"data {opened.name!r} has {len(opened.classes)} classes and the model was built for {len(model.classes)}; "
            "build it with classes= of the data"
        )
    return match_classes(task, opened, model.classes)[0]


def _check_rare(task: Task, dataset: Dataset, recipe: Recipe, progress: Progress) -> None:
    """Refuse classes that have fewer samples than the recipe asks for, and say which others have no sample, or one.

    Raises:
        InputError: naming them.
    """
    counts = Counter(label for record in dataset.records for label in set(task.data.labels(record.target)))
    few = [f"{name} ({counts[index]})" for index, name in enumerate(dataset.classes) if 0 < counts[index] < recipe.min_samples]
    if few and max(counts.values()) > 1:
        raise InputError(
            f"data {dataset.name!r} has classes with fewer than {recipe.min_samples} samples: {_listed(few)}; add some, take these out "
            "of it, or set min_samples to 1 (--min-samples 1)"
        )
    for count, words in ((0, "no sample: it can't be learned"), (1, "one sample: little can be learned from it")):
        _say(dataset, [name for index, name in enumerate(dataset.classes) if counts[index] == count], words, progress)


def _say_unscored(task: Task, validation: Dataset | None, progress: Progress) -> None:
    """Say which of the model's classes the validation data doesn't show; where people are compared it shows others on purpose."""
    if validation is None or task.data.open_set:
        return
    shown = {label for record in validation.records for label in task.data.labels(record.target)}
    lacking = [name for index, name in enumerate(validation.classes) if index not in shown]
    _say(validation, lacking, "no sample: the scores after each epoch say nothing of it", progress)


def _say(dataset: Dataset, classes: Sequence[str], words: str, progress: Progress) -> None:
    """Say what some classes of a data set have, if there are any."""
    if classes:
        progress.say(f"data {dataset.name!r}: {_listed(classes)} {'have' if len(classes) > 1 else 'has'} {words}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def settle(recipe: Recipe, samples: int, processes: int, presets: Mapping[str, Recipe], progress: Progress) -> Recipe:
    """Return the recipe with batch size and number of epochs fixed for a data set of this size.

    A recipe's own batch size gives way to little data; one that was chosen does not.

    Raises:
        InputError: the batch size is larger than the data.
    """
    most = samples // processes
    if recipe.batch_size > most >= 2:
        if recipe.batch_size not in {preset.batch_size for preset in presets.values()}:
            raise InputError(
                f"batch_size is {recipe.batch_size}{f' in each of {processes} processes' if processes > 1 else ''}, but the data has "
                f"{samples} samples; give {most} or less"
            )
        progress.say(f"batch_size is {most}, not {recipe.batch_size}: the data has {samples} samples")
        recipe = replace(recipe, batch_size=most)
    if recipe.epochs is not None:
        return recipe
    per_epoch = max(1, samples / (recipe.batch_size * processes * recipe.grad_accumulation))
    return replace(recipe, epochs=min(recipe.max_epochs, max(2, math.ceil(recipe.steps / per_epoch))))
