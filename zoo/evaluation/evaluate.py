"""Evaluation of models and prediction files, for all tasks."""

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
from zoo.data.loader import Reading
from zoo.errors import DataError, Fault
from zoo.evaluation.ensemble import Answered, Ensemble, ModelGroup, answered, voted
from zoo.evaluation.files import suffix_of
from zoo.evaluation.heads import per_head
from zoo.evaluation.intervals import REPLICATES, intervals
from zoo.evaluation.voting import Voting, check_val
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.models.classes import match_classes
from zoo.models.model import Model
from zoo.system.hardware import pick_device
from zoo.system.precision import Precision
from zoo.system.progress import Progress
from zoo.system.reproducibility import versions
from zoo.task.answers import Aligning
from zoo.task.combination import check_tta
from zoo.task.contract import get_task
from zoo.task.head import FeatureSource
from zoo.task.metric import Metric, MetricResult, Scores


@per_head
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
    """Score a model, or an ensemble of models, on a dataset.

    Args:
        model: a model, or several models of the same task and with the same classes (in any order). They are moved to `device`. Their
            training or evaluation mode is restored at the end.
        data: a dataset string, a path, or a sequence of samples. For a model with several heads, a mapping from head name to such data;
            heads without data are not scored. The key for several heads with the same data is "NAME,NAME", or a tuple of the names.
        vote: method of combining the predictions of several models. "soft" averages probabilities (classification), fuses boxes
            (detection) or averages cosine similarities (faces). Classification also supports "hard" (majority vote) and "weighted"
            (soft vote with weights fitted on `val`).
        val: validation data for fitting the weights of the vote "weighted"; must differ from the scored data. For several heads, a mapping
            from head name.
        tta: test-time augmentations: "flip" (horizontal flips), "scales" (other input sizes), or both.
        batch_size: number of images per batch. None selects it from the model's input size.
        workers: number of loader processes. None selects it from the number of CPU cores and the size of the dataset.
        precision: precision of matrix multiplications. "auto" means fp32, so that scores don't depend on the machine.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip samples that can't be read. Skipped samples are counted and listed in the result.
        exact: whether to decode every image at full size. By default, JPEGs much larger than the model's input are decoded at a reduced
            scale.
        max_pixels: maximum width × height of an image, in pixels. Larger images are rejected before they are decoded.
        replicates: number of bootstrap replicates for the confidence intervals; 0 for no intervals.
        metric_options: scoring options by name. They are the fields of the task's `scoring.options`. With several heads, an option applies
            to those whose task has it, as `align` does.
        save_predictions: file to which the predictions are written, in the format that `evaluate_predictions` reads. For several heads, a
            folder, which receives one file per head, such as `parts.json`.
        progress: display of progress bars and messages; None for no display.
        pooled: pooled features of the dataset, computed by the backbone of `model`. If passed, they are used instead of the images, and
            `model` must be a single model.
        align: detector for face models, as in `zoo.predict`. It detects the main face in each image, which is then aligned as in
            training. Images without a face are skipped, counted and listed. None if the dataset is already aligned or needs no
            alignment.

    Returns:
        The scores. If `data` is a mapping, a dict from head name to the scores of each head with data.

    Raises:
        InputError: a model, the dataset or an option is invalid, the classes of dataset and models differ, or the models have several heads
            and `data` isn't a mapping.
        UnknownNameError: the models have no head of that name.
        ImageError: an image can't be read and `on_error` is "raise".
        DataError: all samples were skipped.
    """
    check_val(vote, val)
    augmented, group = check_tta(tta), ModelGroup.of(model)
    ensemble = None
    if len(group.models) > 1 or augmented:
        ensemble = Ensemble.of(group.models, vote, tta)
    elif vote != "soft":
        voted(group, vote)  # check the vote, although a single model doesn't use it
    task = group.task
    if save_predictions is not None:  # check before a long evaluation that the task can write predictions to this file
        suffix_of(save_predictions, task.answer_files().suffixes, f"the task {task.name}")
    options = task.parse_scoring(metric_options or {}, group.metadata)
    progress = progress or Progress(enabled=False)
    opened = task.open(data, on_error, progress.say)
    dataset, classes = match_classes(task, opened, group.models[0].classes if ensemble is None else ensemble.classes)
    reading = placed(group, batch_size, workers, precision, device, on_error, exact, max_pixels, progress)
    aligned = None if align is None else task.align(dataset, group.models, aligning(align, reading))
    metric = task.scoring.metric(dataset, classes, **options)
    start = time.perf_counter()
    scored = dataset if aligned is None else aligned.dataset
    if ensemble is None:
        batches, ensemble_details = answered(group.models[0], scored, reading, pooled), {}
    else:
        voting = Voting.of(ensemble, vote, val, opened, reading)
        batches, ensemble_details = voting.answered(scored, reading), voting.details()
    keys, skipped, kept = collected(batches, metric, save_predictions is not None, reading.processes)
    if aligned is not None:
        skipped += aligned.left_out
    if len(skipped) == len(dataset):
        raise DataError(f"data {dataset.name!r}: none of its {len(dataset)} images can be read:", skipped)
    if save_predictions is not None and PartialState().is_main_process:
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
        precision=group.reported_precision(reading.precision),
        seconds=seconds,
        fingerprints={**({} if pooled is None else {"data": pooled.fingerprint}), **group.fingerprints()},
        hub=group.hub(),
    )


def placed(
    group: ModelGroup,
    batch_size: int | None,
    workers: int | None,
    precision: Precision,
    device: str,
    on_error: OnError,
    exact: bool,
    max_pixels: int,
    progress: Progress,
) -> Reading:
    """Move models to their device, and return how this process reads the data. The arguments are those of `evaluate`."""
    place = pick_device(device, any(model.compiled for model in group.models))
    chosen, state = group.precision(precision), PartialState(cpu=place.type == "cpu")
    group.place(place)
    return Reading(batch_size, workers, chosen, str(place), on_error, exact, max_pixels, progress, state.process_index, state.num_processes)


def aligning(detector: object, reading: Reading) -> Aligning:
    """Return the settings for aligning a dataset with a detector."""
    decoding = Decoding(max_pixels=reading.max_pixels)
    return Aligning(detector, decoding, reading.on_error == "skip", reading.progress, reading.rank, reading.processes)


def collected(batches: Iterable[Answered], metric: Metric, keep: bool, processes: int) -> tuple[list[str], list[Fault], dict[str, Any]]:
    """Update a metric with all batches of this process, and merge the results of all processes.

    Returns:
        Keys of the scored samples, errors of the skipped samples, and predictions by key (empty unless `keep` is true).
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


def evaluate_predictions(
    predictions: Path,
    task_name: str,
    data: object,
    *,
    classes: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    on_error: OnError = "raise",
    replicates: int = REPLICATES,
    metric_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a prediction file, which may have been written by another tool.

    Args:
        predictions: prediction file in a format that the task supports, such as COCO results for detection.
        task_name: name of the task.
        data: dataset string, path or sequence of samples; the images aren't read.
        classes: class names by index; empty to use the classes of the dataset.
        options: options of the models that made the predictions, as in `zoo.build`, if they matter for the data, as `multi_label`.
        on_error: "raise", or "skip" to skip invalid samples of the dataset. Invalid predictions are always an error. Images that the
            file marks as having no prediction are skipped, counted and listed in the result.
        replicates: number of bootstrap replicates for the confidence intervals; 0 for no intervals.
        metric_options: scoring options by name. They are the fields of the task's `scoring.options`.
        progress: display of messages; None for no display.

    Raises:
        InputError: the dataset, the predictions or an option is invalid. The message names the file and the entry.
        DataError: the file contains no predictions.
    """
    task = get_task(task_name, options)
    scoring = task.parse_scoring(metric_options or {})
    progress = progress or Progress(enabled=False)
    opened = task.open(data, on_error, progress.say, pictures=False)
    dataset, names = match_classes(task, opened, classes or opened.classes)
    start = time.perf_counter()
    read = task.answer_files().read(predictions, dataset, names)
    answers = {key: answer for key, answer in read.items() if answer is not None}
    if not answers:
        raise DataError(f"{predictions} has no prediction for the {len(dataset)} images of dataset {dataset.name!r}")
    without = [Fault(key, f"marked as having no prediction in {predictions}", whole=True) for key in dataset.keys if key not in answers]
    metric = task.scoring.metric(dataset, names, **scoring)
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
    hub: Mapping[str, Mapping[str, str]] = {},
) -> Scores:
    """Create the evaluation result of the dataset `opened` (before relabelling), of which the samples `keys` were scored.

    `skipped` are the errors of samples that weren't scored, in addition to those in `opened.skipped`. The fingerprint of the dataset is
    added to `fingerprints` as "data" unless present.
    """
    return Scores(
        **vars(result),
        n=len(keys),
        expected=len(opened) + len({fault.key for fault in opened.skipped if fault.whole}),
        skipped=(*opened.skipped, *skipped),
        intervals=intervals(result.replicates, result.scores),
        data=opened.name,
        preprocess=preprocess,
        precision=precision,
        seconds=seconds,
        fingerprints=dict(fingerprints) if "data" in fingerprints else {"data": data_fingerprint(opened), **fingerprints},
        hub=hub,
        versions=versions(),
        sample_keys=tuple(sorted(keys)),
    )
