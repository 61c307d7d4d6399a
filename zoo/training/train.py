"""Train a model with a recipe (`zoo.train`)."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset, OnError
from zoo.data.loader import Reading
from zoo.errors import DataError, Fault, InputError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.models.archive import save
from zoo.models.classes import match_classes
from zoo.models.model import Model
from zoo.system.disk import storing, tensor_bytes
from zoo.system.hardware import pick_device
from zoo.system.processes import Processes, bound
from zoo.system.progress import Progress
from zoo.system.threads import THREADS
from zoo.task.answers import Aligning
from zoo.task.contract import Task
from zoo.task.head import RememberingHead
from zoo.task.metric import Scores
from zoo.task.recipe import Recipe
from zoo.training.batches import RunData
from zoo.training.checkpoints import CHECKPOINT, RunFolder
from zoo.training.loop import TrainingLoop
from zoo.training.memorizing import Memorizing
from zoo.training.report import Trained, write_training_report
from zoo.training.tracking import check_trackers


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        model: the trained model, in evaluation mode. With validation data, it has the weights of the best epoch (the last one of equals).
        folder: folder of the run.
        history: one entry per epoch, as in metrics.jsonl.
        scores: validation scores of the model; None without validation data.
        skipped: errors of skipped images and annotations; empty unless `on_error` is "skip".
        not_finite: number of batches skipped because their loss wasn't finite; 0 unless `recipe.on_nan` is "skip".
        seconds: wall-clock time of the call of `zoo.train`, in seconds.
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
    """Train or fine-tune a model in place.

    Args:
        model: model from `zoo.build` or `zoo.load`.
        data: training data: a dataset string, a path, or a sequence of samples.
        val: validation data, scored after every epoch; None for no validation.
        recipe: the training settings; None for the task's defaults.
        out: folder of the run. It must not contain a run unless `resume` is True.
        resume: whether to resume the run in `out` from its last checkpoint.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip and report samples that can't be read.
        exact: whether to decode every image at full size. By default, JPEGs much larger than the model's input are decoded at a reduced
            scale.
        max_pixels: maximum width × height of an image, in pixels. Larger images are rejected before they are decoded.
        checkpoint_minutes: minutes between two checkpoints within an epoch; 0 writes a checkpoint after every step. A checkpoint is also
            written at the end of every epoch.
        track: names of experiment trackers, as used by Accelerate: "tensorboard" (files in `out`/tensorboard), "wandb", …
        progress: display of progress bars and messages, used only by the first process; None for no display.
        align: detector for face models, as `detector` of `zoo.predict`. It detects the main face in each image, which is then aligned to
            the model's `alignment`. A training image without a face raises an error, or is skipped and reported if `on_error` is "skip".
            A validation image without a face is always skipped. None if the images need no alignment.

    Returns:
        The finished run. The model is saved in `out`/model, and the report as `out`/report.html.

    Raises:
        InputError: an option or the dataset is invalid, `out` can't be used, or there isn't enough disk space.
        ZooError: the loss or the weights aren't finite, or another process of the run has failed.
        Interrupted: training was stopped by Ctrl-C or SIGTERM. A checkpoint was written.
    """
    if model.compiled:
        raise InputError("a compiled model can't be trained; train the original model and compile it again")
    with bound():
        processes = Processes(pick_device(device))
    quiet = progress is None or not processes.first
    task, progress = model.definition, Progress(enabled=False) if progress is None or quiet else progress
    track = check_trackers(track)
    recipe = recipe if recipe is not None else task.data.recipe()
    if not isinstance(recipe, task.data.recipe):
        raise InputError(f"recipe is a {type(recipe).__name__}; expected a {task.data.recipe.__name__} for the task {task.name}")
    recipe = task.data.suit(recipe, task.parse_options(model.config.options))
    start = time.perf_counter()
    with bound(), RunFolder(Path(out), processes.first, checkpoint_minutes) as folder:
        with processes.together():
            dataset = _open(task, data, model, on_error, progress)
            validation = None if val is None else _open(task, val, model, on_error, progress, closed=not task.data.open_set)
            reading = Reading(device=device, on_error=on_error, exact=exact, max_pixels=max_pixels, progress=progress)
            how: dict[str, Any] | None = None
            if align is not None:
                dataset, validation, how = _align(model, task, align, dataset, validation, reading, processes)
            _check_classes(task, dataset, validation, recipe, progress)
            for note in task.data.check_training(dataset):
                progress.say(f"data {dataset.name!r}: {note}")
            chosen, recipe = recipe, settle(recipe, len(dataset), processes.count, task.data.recipes, progress)
            inputs = RunData(model, task, dataset, validation, recipe, processes, reading, how)
            loop = Memorizing(inputs, track) if isinstance(model.head, RememberingHead) else TrainingLoop(inputs, track)
            folder.open(inputs.describe(), recipe, resume, loop.checkpoint_bytes(), progress.say)
            if resume and not (folder.path / CHECKPOINT).is_file():
                progress.say(f"{folder.path}: there is no checkpoint to resume from; starting a new run")
        model.metadata |= task.building.metadata(task.parse_options(model.config.options))  # an earlier threshold is no longer valid
        with THREADS.held(folder.threads()):
            loop.run(folder)
        model.metadata |= {} if loop.scores is None else task.building.trained_metadata(loop.scores)
        model.metadata["training"] = inputs.summary(loop.history, loop.precision, loop.seconds)
        model.eval()
        skipped = (*dataset.skipped, *loop.skipped.values())
        if processes.first:
            with storing(folder.path / "model", tensor_bytes(model.state_dict())):
                save(model, folder.path / "model")
            trained = Trained(model, dataset, validation, loop.history, loop.scores, chosen, recipe, skipped, loop.seconds)
            write_training_report(folder.path, trained, progress)
        processes.wait()  # wait until the model is saved
    return Run(model, folder.path, loop.history, loop.scores, skipped, loop.not_finite, time.perf_counter() - start)


def _open(task: Task, data: object, model: Model, on_error: OnError, progress: Progress, closed: bool = True) -> Dataset:
    opened = task.open(data, on_error, progress.say)
    for fault in opened.skipped:
        progress.say(f"skipped: {fault}")
    if not closed:
        return opened
    if task.data.open_set and opened.classes and len(opened.classes) != len(model.classes):
        raise InputError(
            f"dataset {opened.name!r} has {len(opened.classes)} classes, but the model was built for {len(model.classes)}; "
            "build the model with the classes of the dataset (classes=)"
        )
    return match_classes(task, opened, model.classes)[0]


def _align(
    model: Model, task: Task, detector: object, dataset: Dataset, validation: Dataset | None, reading: Reading, processes: Processes
) -> tuple[Dataset, Dataset | None, dict[str, Any]]:
    """Return the aligned training and validation data, and a description of detector and settings with the keys "data" and "val".

    Images in which nothing to align is detected are skipped. In training data, they raise an error unless `reading.on_error` is "skip".
    """
    if model.preprocess.alignment is None:
        raise InputError(
            f"align: the model (task {task.name}) has no alignment template; use a face model built with "
            'an alignment, e.g. alignment="arcface" (--alignment arcface)'
        )
    skip, progress = reading.on_error == "skip", reading.progress
    how = Aligning(detector, Decoding(max_pixels=reading.max_pixels), skip, progress, processes.rank, processes.count)
    aligned = task.align(dataset, [model], how)
    if aligned.not_found and not skip:
        raise DataError(
            f"data {dataset.name!r}: nothing to align was detected in {len(aligned.not_found)} of {len(dataset)} images:",
            aligned.not_found,
            'Skip them with --skip-bad (on_error="skip").',
        )
    for fault in aligned.left_out:
        progress.say(f"skipped: {fault}")
    details = {"data": dict(aligned.details)}
    dataset = replace(aligned.dataset, skipped=(*dataset.skipped, *aligned.left_out))
    if validation is not None:
        aligned = task.align(validation, [model], how)
        details["val"] = dict(aligned.details)
        validation = replace(aligned.dataset, skipped=(*validation.skipped, *aligned.left_out))
    return dataset, validation, details


def _check_classes(task: Task, dataset: Dataset, validation: Dataset | None, recipe: Recipe, progress: Progress) -> None:
    """Check that non-empty classes have at least `recipe.min_samples` samples, and list classes with too few samples to learn or score."""
    counts = Counter(label for record in dataset.records for label in set(task.data.labels(record.target)))
    few = [f"{name} ({counts[index]})" for index, name in enumerate(dataset.classes) if 0 < counts[index] < recipe.min_samples]
    if few and max(counts.values()) > 1:
        raise InputError(
            f"dataset {dataset.name!r} has classes with fewer than {recipe.min_samples} samples: {_listed(few)}; add samples, remove "
            "these classes, or set min_samples to 1 (--min-samples 1)"
        )
    for count, words in ((0, "no samples: nothing can be learned"), (1, "only one sample: little can be learned")):
        _say(dataset, [name for index, name in enumerate(dataset.classes) if counts[index] == count], words, progress)
    if validation is not None and not task.data.open_set:  # open-set tasks validate on other identities
        shown = {label for record in validation.records for label in task.data.labels(record.target)}
        lacking = [name for index, name in enumerate(validation.classes) if index not in shown]
        _say(validation, lacking, "no samples: not included in the validation scores", progress)


def _say(dataset: Dataset, classes: Sequence[str], words: str, progress: Progress) -> None:
    """Print a message about classes, if there are any. `words` follows "has" or "have" in the message."""
    if classes:
        progress.say(f"data {dataset.name!r}: {_listed(classes)} {'have' if len(classes) > 1 else 'has'} {words}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def settle(recipe: Recipe, samples: int, processes: int, presets: Mapping[str, Recipe], progress: Progress) -> Recipe:
    """Adapt batch size and number of epochs of a recipe to the size of the dataset.

    A batch size that is too large for the dataset is reduced, with a message, if it comes from a preset; otherwise, it raises an
    `InputError`.
    """
    most = samples // processes
    if recipe.batch_size > most >= 2:
        if recipe.batch_size not in {preset.batch_size for preset in presets.values()}:
            raise InputError(
                f"batch_size is {recipe.batch_size}{f' in each of {processes} processes' if processes > 1 else ''}, but the data has "
                f"{samples} samples; set it to {most} or less"
            )
        progress.say(f"batch_size was reduced from {recipe.batch_size} to {most}, because the dataset has only {samples} samples")
        recipe = replace(recipe, batch_size=most)
    if recipe.epochs is not None:
        return recipe
    per_epoch = max(1, samples / (recipe.batch_size * processes * recipe.grad_accumulation))
    return replace(recipe, epochs=min(recipe.max_epochs, max(2, math.ceil(recipe.steps / per_epoch))))
