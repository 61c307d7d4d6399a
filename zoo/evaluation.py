"""One evaluation loop for every task: manifest in, scores out, and what was left out."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from zoo.data import Dataset, OnError, open_data
from zoo.errors import DataError, Fault, InputError
from zoo.hardware import autocast, pick_device, pick_inference_precision, pick_workers, place
from zoo.images import MAX_PIXELS, Decoding
from zoo.loader import Batches, evaluation_loader, pick_batch_size
from zoo.model import Model, unnamed
from zoo.progress import Progress
from zoo.recipe import Precision
from zoo.task import Metric, Task, get_task


@dataclass(frozen=True)
class Scores(Mapping[str, "float | None"]):
    """The result of an evaluation: a mapping from score names to values (None where the data doesn't support one).

    Attributes:
        scores: name to value.
        n: samples that were scored.
        expected: samples of the manifest, those left out at opening included.
        skipped: what was left out, and why.
        per_class: class name to its own scores.
        intervals: score name to its interval.
        details: what else the task's metric found.
        data: the dataset string.
        preprocess: how pictures were prepared.
        precision: of the matrix work.
        seconds: wall-clock time of the loop.
    """

    scores: Mapping[str, float | None]
    n: int
    expected: int
    skipped: tuple[Fault, ...] = ()
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    seconds: float = 0.0

    def __getitem__(self, name: str) -> float | None:
        """Return a score."""
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the scores."""
        return iter(self.scores)

    def __len__(self) -> int:
        """Return the number of scores."""
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `zoo eval --json` prints it."""
        return {
            "scores": dict(self.scores),
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "per_class": {name: dict(scores) for name, scores in self.per_class.items()},
            "n": self.n,
            "expected": self.expected,
            "skipped": [fault.to_dict() for fault in self.skipped],
            "data": self.data,
            "details": dict(self.details),
            "preprocess": dict(self.preprocess),
            "precision": self.precision,
            "seconds": round(self.seconds, 3),
        }


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
        progress: where the bar is drawn; None for nowhere.

    Raises:
        InputError: the data or an option is wrong, or the data's classes aren't the model's.
        ImageError: a picture can't be read and `on_error` is "raise".
        DataError: nothing is left to score.
    """
    task = get_task(model.task)
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
    metric = task.metric(dataset, classes)
    start = time.perf_counter()
    skipped = _run(model, task, loader, metric, chosen, progress)
    if state.num_processes > 1:
        metric.merge(gather_object([metric.state()]))
        skipped = sorted(gather_object(skipped), key=lambda fault: fault.key)
    if len(skipped) == len(dataset):
        raise DataError(f"data {dataset.name!r}: none of its {len(dataset)} pictures can be read:", skipped)
    result = metric.compute()
    return Scores(
        scores=result.scores,
        n=len(dataset) - len(skipped),
        expected=len(dataset) + len({fault.key for fault in opened.skipped if fault.whole}),
        skipped=(*opened.skipped, *skipped),
        per_class=result.per_class,
        details=result.details,
        data=dataset.name,
        preprocess=model.preprocess.to_dict(),
        precision=chosen,
        seconds=time.perf_counter() - start,
    )


def _run(model: Model, task: Task, loader: Batches, metric: Metric, precision: Precision, progress: Progress) -> list[Fault]:
    skipped: list[Fault] = []
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, model.device):
            for batch in progress.track(loader, "evaluating", len(loader)):
                skipped += batch.skipped
                if batch.images is not None:
                    metric.update(task.split(model(batch.images)), batch.targets, batch.keys)
    finally:
        model.train(was_training)
    return skipped


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
