"""One evaluation loop for every task: manifest in, scores out, and what was left out."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from zoo.data import Dataset, OnError
from zoo.errors import DataError, Fault, InputError
from zoo.fingerprint import data_fingerprint, file_fingerprint, model_fingerprint, versions
from zoo.hardware import autocast, pick_device, pick_inference_precision, pick_workers, place
from zoo.images import MAX_PIXELS, Decoding
from zoo.loader import Batch, Batches, evaluation_loader, pick_batch_size
from zoo.model import Model, unnamed
from zoo.progress import Progress
from zoo.recipe import Precision
from zoo.schemes import open_data
from zoo.scores import Scores
from zoo.task import MetricResult, Task, get_task
from zoo.uncertainty import REPLICATES, interval


def evaluate(
    model: Model,
    data: object,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    precision: Precision = "auto",
    device: str = "auto",
    on_error: OnError = "raise",
    exact: bool = False,
    max_pixels: int = MAX_PIXELS,
    replicates: int = REPLICATES,
    metric_options: Mapping[str, Any] | None = None,
    save_predictions: Path | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a model on data.

    Args:
        model: any model of the zoo; it is moved to `device` and left in the mode it was in.
        data: a dataset string, a path, or a sequence of samples.
        batch_size: pictures at once; None for what suits their size.
        workers: loader processes; None for what suits the machine.
        precision: "auto" is fp32 here, so that scores don't depend on the machine.
        device: "auto" or a torch device.
        on_error: "skip" leaves out what can't be read, counts and lists it; nothing else ever drops a sample.
        exact: decode every picture whole; otherwise a JPEG much larger than the model's input is decoded at a reduced scale.
        max_pixels: larger pictures are refused before they are decoded.
        replicates: bootstrap draws behind the intervals; 0 for no intervals.
        metric_options: choices about the scores, by the fields of the task's `scoring`.
        save_predictions: where the answers are written, in the form that `evaluate_predictions` reads.
        progress: where the bar is drawn; None for nowhere.

    Raises:
        InputError: the data or an option is wrong, or the data's classes aren't the model's.
        ImageError: a picture can't be read and `on_error` is "raise".
        DataError: nothing is left to score.
    """
    task = get_task(model.task)
    options = task.parse_scoring(metric_options or {})
    progress = progress or Progress(enabled=False)
    opened = open_data(data, task.schemes, task.name, on_error, progress.say)
    dataset, classes = match_classes(task, opened, model.classes)
    chosen, target_device = pick_inference_precision(precision), pick_device(device)
    place(model, target_device)
    state = PartialState()
    loader = evaluation_loader(
        dataset,
        model.preprocess,
        pick_batch_size(batch_size, model.preprocess),
        pick_workers(workers, len(dataset)),
        on_error,
        state.process_index,
        state.num_processes,
        Decoding(None if exact else model.preprocess.min_size_hw, max_pixels),
    )
    metric = task.metric(dataset, classes, **options)
    start = time.perf_counter()
    skipped: list[Fault] = []
    kept: dict[str, Any] = {}
    keys: list[str] = []
    for batch, answers in answered(model, task, loader, chosen, progress):
        skipped += batch.skipped
        if batch.keys:
            metric.update(answers, batch.targets, batch.keys)
        keys += batch.keys
        if save_predictions is not None:
            kept.update(zip(batch.keys, answers, strict=True))
    if state.num_processes > 1:
        metric.merge(gather_object([metric.state()]))
        skipped = sorted(gather_object(skipped), key=lambda fault: fault.key)
        keys = gather_object(keys)
        kept = {key: answer for part in gather_object([kept]) for key, answer in part.items()}
    if len(skipped) == len(dataset):
        raise DataError(f"data {dataset.name!r}: none of its {len(dataset)} pictures can be read:", skipped)
    if save_predictions is not None and state.is_main_process:
        task.write_predictions(save_predictions, kept, dataset, classes)
    seconds = time.perf_counter() - start
    return summarise(
        metric.compute(replicates),
        opened,
        keys,
        skipped,
        preprocess=model.preprocess.to_dict(),
        precision=chosen,
        seconds=seconds,
        fingerprints={"model": model_fingerprint(model)},
    )


def evaluate_predictions(
    predictions: Path,
    task_name: str,
    data: object,
    *,
    classes: tuple[str, ...] = (),
    on_error: OnError = "raise",
    replicates: int = REPLICATES,
    metric_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score answers that stand in a file, by whatever made it.

    Args:
        predictions: the file; its form is the task's, such as a COCO results file for detection.
        task_name: the task's name.
        data: as for `evaluate`; its pictures aren't read.
        classes: names of the labels; those of the data where none are given.
        on_error: as for `evaluate`; it concerns the data. Of the predictions nothing is ever left out.
        replicates: as for `evaluate`.
        metric_options: as for `evaluate`.
        progress: as for `evaluate`.

    Raises:
        InputError: the data, the predictions or an option is wrong; with the file and the entry.
    """
    task = get_task(task_name)
    options = task.parse_scoring(metric_options or {})
    progress = progress or Progress(enabled=False)
    opened = open_data(data, task.schemes, task.name, on_error, progress.say, pictures=False)
    dataset, names = match_classes(task, opened, classes or opened.classes)
    start = time.perf_counter()
    answers = task.read_predictions(predictions, dataset, names)
    return score_answers(task, answers, opened, dataset, names, options, replicates, {"predictions": file_fingerprint(predictions)}, start)


def score_answers(
    task: Task,
    answers: Mapping[str, Any],
    opened: Dataset,
    dataset: Dataset,
    classes: tuple[str, ...],
    options: Mapping[str, Any],
    replicates: int,
    fingerprints: Mapping[str, str],
    start: float,
    skipped: Sequence[Fault] = (),
    preprocess: Mapping[str, Any] | None = None,
    precision: str = "",
) -> Scores:
    """Score answers that are there already, of several models combined or from a file.

    Args:
        task: the task.
        answers: key of each sample to its answer; samples without one were skipped.
        opened: the data as it was opened.
        dataset: the same with the labels counted as `classes` are.
        classes: names of the labels.
        options: of the metric.
        replicates: bootstrap draws.
        fingerprints: of what answered.
        start: when it began, by `time.perf_counter`.
        skipped: samples without an answer.
        preprocess: how pictures were prepared; None where that isn't known.
        precision: of the matrix work; "" where that isn't known.
    """
    metric = task.metric(dataset, classes, **options)
    records = [record for record in dataset.records if record.key in answers]
    keys = [record.key for record in records]
    metric.update([answers[key] for key in keys], [record.target for record in records], keys)
    result = metric.compute(replicates)
    return summarise(
        result, opened, keys, skipped,
        preprocess=preprocess or {}, precision=precision, seconds=time.perf_counter() - start, fingerprints=fingerprints,
    )  # fmt: skip


def summarise(
    result: MetricResult,
    opened: Dataset,
    keys: Sequence[str],
    skipped: Sequence[Fault],
    *,
    preprocess: Mapping[str, Any],
    precision: str,
    seconds: float,
    fingerprints: Mapping[str, str],
) -> Scores:
    """Put together what a metric found, and what it was found on.

    Args:
        result: of the metric.
        opened: the data as it was opened.
        keys: the samples that were scored.
        skipped: those that could not be read.
        preprocess: how pictures were prepared.
        precision: of the matrix work.
        seconds: wall-clock time.
        fingerprints: of what answered; the data's is added.
    """
    known = {name: value for name in result.replicates if (value := result.scores.get(name)) is not None}
    bounds = {name: interval(result.replicates[name], value) for name, value in known.items()}
    return Scores(
        scores=result.scores,
        n=len(keys),
        expected=len(opened) + len({fault.key for fault in opened.skipped if fault.whole}),
        skipped=(*opened.skipped, *skipped),
        per_class=result.per_class,
        intervals={name: found for name, found in bounds.items() if found is not None},
        details=result.details,
        data=opened.name,
        preprocess=preprocess,
        precision=precision,
        seconds=seconds,
        fingerprints={"data": data_fingerprint(opened), **fingerprints},
        versions=versions(),
        sample_keys=tuple(sorted(keys)),
        replicates=result.replicates,
        mistakes=result.mistakes,
        curves=result.curves,
        tables=result.tables,
    )


def answered(model: Model, task: Task, loader: Batches, precision: Precision, progress: Progress) -> Iterator[tuple[Batch, list[Any]]]:
    """Yield every batch with the model's answers, one per picture that could be read; the model's mode is restored at the end."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, model.device):
            for batch in progress.track(loader, "evaluating", len(loader)):
                yield batch, [] if batch.images is None else task.split(model(batch.images))
    finally:
        model.train(was_training)


def match_classes(task: Task, dataset: Dataset, classes: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data with its labels counted as the model counts its classes, and the names to report them under.

    Classes are matched by name; ImageNet's folders by synset; a model whose classes have no names by order, where the number
    is the same. Data with fewer classes than the model is fine.

    Raises:
        InputError: the data has classes that the model doesn't know.
    """
    theirs = dataset.classes
    if task.open_set or not theirs or theirs == classes:
        return dataset, classes
    position = {name: index for index, name in enumerate(classes)}
    if not position.keys() >= set(theirs) and all(_SYNSET.fullmatch(name) for name in theirs):
        position = _by_synset(classes) or position
    if position.keys() >= set(theirs):
        return task.relabel(dataset, [position[name] for name in theirs], classes), classes
    if classes == unnamed(len(classes)) and len(theirs) == len(classes):
        return dataset, theirs
    unknown = [name for name in theirs if name not in position]
    raise InputError(
        f"data {dataset.name!r}: {len(unknown)} of its {len(theirs)} classes are unknown to the model ({', '.join(unknown[:8])}); "
        f"the model has {len(classes)}: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}. "
        "Choose with classes= which to keep, or train the model on this data"
    )


_SYNSET = re.compile(r"n\d{8}")


def _by_synset(classes: tuple[str, ...]) -> dict[str, int]:
    from zoo.weights.imagenet import imagenet_classes, imagenet_synsets  # large tables, rarely needed

    same = classes in (imagenet_classes(), unnamed(1000))
    return {synset: index for index, synset in enumerate(imagenet_synsets())} if same else {}
