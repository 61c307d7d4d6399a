"""One evaluation loop for every task: manifest in, scores out, and what was left out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from zoo.data.dataset import Dataset, OnError
from zoo.data.fingerprint import data_fingerprint, file_fingerprint
from zoo.data.reading import Reading
from zoo.errors import DataError, Fault, InputError
from zoo.evaluation.answers import Answered, answered
from zoo.evaluation.ensemble import Ensemble, voted
from zoo.evaluation.group import ModelGroup
from zoo.evaluation.intervals import REPLICATES, interval
from zoo.evaluation.voting import Voting, check_val
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.models.classes import match_classes
from zoo.models.model import Model
from zoo.system.hardware import pick_device
from zoo.system.precision import Precision
from zoo.system.progress import Progress
from zoo.system.versions import versions
from zoo.task.alignment import Aligning
from zoo.task.combination import check_tta
from zoo.task.contract import Task, get_task
from zoo.task.metric import Metric, MetricResult
from zoo.task.pooling import FeatureSource
from zoo.task.scores import Scores


def evaluate(
    model: Model | Sequence[Model],
    data: object,
    *,
    vote: str = "soft",
    val: object = None,
    tta: Sequence[str] = (),
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
    pooled: FeatureSource | None = None,
    align: object = None,
) -> Scores:
    """Score a model, or several models that answer together, on data.

    Args:
        model: any model of the zoo, or several of one task with the same classes (in any order); they are moved to `device` and left
            in the mode they were in.
        data: a dataset string, a path, or a sequence of samples.
        vote: how several models' answers become one, see the task's `combination`: "soft" for the mean of probabilities, fused boxes
            or the mean of cosines; for classification also "hard" (majority) and "weighted" (weights fitted on `val`).
        val: the data to fit the weights of a weighted vote on; not that which is scored.
        tta: test-time augmentations: "flip" for mirror images, "scales" for other sizes of the input, or both.
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
        pooled: features of the data under the trunk of the one model, which answers from them; no picture is read then.
        align: of face models, what finds the face of each picture (the main one), which is aligned as the models learned; as `detector`
            of `zoo.predict`. Pictures without a face are skipped, counted and listed. None for data that is aligned, or has no need.

    Raises:
        InputError: the models, the data or an option are wrong, or the data's classes aren't the models'.
        ImageError: a picture can't be read and `on_error` is "raise".
        DataError: nothing is left to score.
    """
    check_val(vote, val)
    augmented, group = check_tta(tta), ModelGroup.of(model)
    ensemble = None
    if len(group.models) > 1 or augmented:
        ensemble = Ensemble.of(group.models, vote, tta)
    elif vote != "soft":
        voted(group, vote)  # the vote must exist, though one model has nothing to vote about
    task = group.task
    _check_destination(save_predictions, task)
    options = task.parse_scoring(metric_options or {}, group.metadata)
    progress = progress or Progress(enabled=False)
    opened = task.open(data, on_error, progress.say)
    dataset, classes = match_classes(task, opened, group.models[0].classes if ensemble is None else ensemble.classes)
    place = pick_device(device, any(model.compiled for model in group.models))
    chosen, state = group.precision(precision), PartialState(cpu=place.type == "cpu")
    group.place(place)
    reading = Reading(
        batch_size, workers, chosen, str(place), on_error, exact, max_pixels, progress, state.process_index, state.num_processes
    )
    aligned = None
    if align is not None:
        way = Aligning(align, Decoding(max_pixels=max_pixels), on_error == "skip", progress, reading.rank, reading.processes)
        aligned = task.align(dataset, group.models, way)
    metric = task.scoring.metric(dataset, classes, **options)
    start = time.perf_counter()
    scored = dataset if aligned is None else aligned.dataset
    if ensemble is None:
        batches, ensemble_details = answered(group.models[0], scored, reading, pooled), {}
    else:
        voting = Voting.of(ensemble, vote, val, opened, reading)
        batches, ensemble_details = voting.answered(scored, reading), voting.details()
    keys, skipped, kept = _collected(batches, metric, save_predictions is not None, state.num_processes)
    if aligned is not None:
        skipped += aligned.left_out
    if len(skipped) == len(dataset):
        raise DataError(f"data {dataset.name!r}: none of its {len(dataset)} pictures can be read:", skipped)
    if save_predictions is not None and state.is_main_process:
        task.answer_files().write(save_predictions, kept, dataset, classes)
    seconds = time.perf_counter() - start
    result = metric.compute(replicates)
    alignment = {} if aligned is None else {"alignment": aligned.details}
    return summarise(
        replace(result, details={**result.details, **ensemble_details, **group.engines(), **alignment}),
        opened,
        keys,
        skipped,
        preprocess=group.preprocess(),
        precision=group.reported_precision(chosen),
        seconds=seconds,
        fingerprints={**({} if pooled is None else {"data": pooled.fingerprint}), **group.fingerprints()},
    )


def _collected(batches: Iterable[Answered], metric: Metric, keep: bool, processes: int) -> tuple[list[str], list[Fault], dict[str, Any]]:
    """Update a metric with all batches, and merge what all processes have answered.

    Args:
        batches: this process's share.
        metric: it is updated in place.
        keep: whether to keep the answers.
        processes: number of processes.

    Returns:
        Keys of the scored samples, faults of the skipped ones, and the kept answers by key.
    """
    keys: list[str] = []
    skipped: list[Fault] = []
    kept: dict[str, Any] = {}
    for batch in batches:
        skipped += batch.skipped
        if batch.keys:
            metric.update(batch.answers, batch.targets, batch.keys)
        keys += batch.keys
        if keep:
            kept.update(zip(batch.keys, batch.answers, strict=True))
    if processes > 1:
        metric.merge(gather_object([metric.state()]))
        skipped = sorted(gather_object(skipped), key=lambda fault: fault.key)
        keys = gather_object(keys)
        kept = {key: answer for part in gather_object([kept]) for key, answer in part.items()}
    return keys, skipped, kept


def _check_destination(save_predictions: Path | None, task: Task) -> None:
    """Refuse a file that answers can't be written into before an hour is spent on them."""
    if save_predictions is not None and save_predictions.suffix.lower() not in (suffixes := task.answer_files().suffixes):
        raise InputError(f"{save_predictions}: the task {task.name} writes answers into files ending in {', '.join(suffixes)}")


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
        on_error: as for `evaluate`; it concerns the data. Of the predictions nothing is ever left out; pictures for which they say that
            there is no answer are skipped, counted and listed.
        replicates: as for `evaluate`.
        metric_options: as for `evaluate`.
        progress: as for `evaluate`.

    Raises:
        InputError: the data, the predictions or an option is wrong; with the file and the entry.
        DataError: the predictions have no answer at all.
    """
    task = get_task(task_name)
    options = task.parse_scoring(metric_options or {})
    progress = progress or Progress(enabled=False)
    opened = task.open(data, on_error, progress.say, pictures=False)
    dataset, names = match_classes(task, opened, classes or opened.classes)
    start = time.perf_counter()
    read = task.answer_files().read(predictions, dataset, names)
    answers = {key: answer for key, answer in read.items() if answer is not None}
    if not answers:
        raise DataError(f"{predictions}: has an answer for none of the {len(dataset)} pictures of data {dataset.name!r}")
    without = [Fault(key, f"{predictions} says that it has no answer", whole=True) for key in dataset.keys if key not in answers]
    metric = task.scoring.metric(dataset, names, **options)
    records = [record for record in dataset.records if record.key in answers]
    keys = [record.key for record in records]
    metric.update([answers[key] for key in keys], [record.target for record in records], keys)
    result = metric.compute(replicates)
    return summarise(
        result, opened, keys, without, preprocess={}, precision="", seconds=time.perf_counter() - start,
        fingerprints={"predictions": file_fingerprint(predictions)},
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
        fingerprints: of what answered; the data's is added where it isn't there.
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
        fingerprints=dict(fingerprints) if "data" in fingerprints else {"data": data_fingerprint(opened), **fingerprints},
        versions=versions(),
        sample_keys=tuple(sorted(keys)),
        replicates=result.replicates,
        mistakes=result.mistakes,
        curves=result.curves,
        tables=result.tables,
    )
