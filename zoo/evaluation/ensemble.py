"""Models that answer for the same pictures, each with its own preprocessing and views; a model alone is an ensemble of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import torch

from zoo.data.dataset import Dataset, OnError
from zoo.data.loader import Batches, evaluation_loader, pick_batch_size
from zoo.errors import Fault, InputError, UnknownNameError
from zoo.evaluation.augmentation import View, mirrored, views_of
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.classes import common_classes, new_index
from zoo.models.compiled import Compiled
from zoo.models.fingerprint import model_fingerprint
from zoo.models.inference import answers
from zoo.models.model import Model
from zoo.system.hardware import Precision, autocast, pick_inference_precision, pick_workers, place
from zoo.system.progress import Progress
from zoo.task.combination import Combination, check_tta
from zoo.task.contract import Task, get_task
from zoo.task.pooling import AnyBatch
from zoo.training.features.batches import PooledBatches, PooledData


@dataclass(frozen=True)
class Reading:
    """How pictures are read and answered, the same for all models.

    Attributes:
        batch_size: pictures at once; None for what suits the largest input.
        workers: loader processes; None for what suits the machine.
        precision: of the matrix work.
        on_error: "skip" leaves out what can't be read.
        exact: decode every picture whole.
        max_pixels: larger pictures are refused.
        rank: which of the processes this one is.
        processes: how many there are.
        progress: where the bar is drawn.
        pooled: the data's features, where the one model has seen its pictures already: none is read then.
    """

    batch_size: int | None
    workers: int | None
    precision: Precision
    on_error: OnError
    exact: bool
    max_pixels: int
    rank: int
    processes: int
    progress: Progress
    pooled: PooledData | None = None


@dataclass(frozen=True)
class Answered:
    """A batch that every model has answered.

    Attributes:
        keys: of the pictures that every view could be made of.
        targets: one per key.
        answers: one list per key, with one answer per model.
        skipped: the pictures that could not be read.
    """

    keys: tuple[str, ...]
    targets: tuple[Any, ...]
    answers: list[list[Any]]
    skipped: tuple[Fault, ...]


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
        model: the model.
        views: how it looks at each picture.
        new_index: under which class of the ensemble each of its own counts; None where they are the same.
    """

    model: Model
    views: tuple[View, ...]
    new_index: list[int] | None

    def answer(self, batches: dict[Preprocess, AnyBatch], keys: Sequence[str], combination: Combination | None) -> list[Any]:
        """Return one answer per key."""
        views = [self._view(view, batches[view.preprocess], keys, combination) for view in self.views]
        found = [
            several[0] if combination is None or len(several) == 1 else combination.views(several) for several in zip(*views, strict=True)
        ]
        if combination is None or self.new_index is None:
            return found
        return [combination.recounted(answer, self.new_index) for answer in found]

    def _view(self, view: View, batch: AnyBatch, keys: Sequence[str], combination: Combination | None) -> list[Any]:
        if batch.images is None:
            return []
        images = batch.images
        if not view.mirror:
            found = answers(self.model, images)
        else:
            assert isinstance(images, ImageBatch), "features have no mirror image"
            assert combination is not None, "several views are combined"
            seen = zip(answers(self.model, mirrored(images)), images.original_sizes_hw, strict=True)
            found = [combination.mirrored(answer, size) for answer, size in seen]
        by_key = dict(zip(batch.keys, found, strict=True))
        return [by_key[key] for key in keys]


@dataclass(frozen=True)
class Ensemble:
    """One model or several of one task.

    Attributes:
        task: what they do.
        members: the models.
        classes: the names that their answers are counted by.
        tta: test-time augmentations.
        combination: how answers are brought together; None for one model with one view, whose answers need no bringing together.
    """

    task: Task
    members: tuple[Member, ...]
    classes: tuple[str, ...]
    tta: tuple[str, ...]
    combination: Combination | None

    @classmethod
    def of(cls, models: Model | Sequence[Model], vote: str = "soft", tta: Sequence[str] = ()) -> Ensemble:
        """Put models together.

        Raises:
            InputError: no model, models of several tasks or with different classes, or a task that can't combine answers.
            UnknownNameError: a vote or an augmentation that the task doesn't have.
        """
        chosen, augmented = [models] if isinstance(models, Model) else list(models), check_tta(tta)
        if not chosen:
            raise InputError("nothing to evaluate: give at least one model")
        tasks = sorted({model.task for model in chosen})
        if len(tasks) > 1:
            raise InputError(f"ensemble: the models are of several tasks: {', '.join(tasks)}; expected one")
        task = get_task(tasks[0])
        several = len(chosen) > 1 or augmented
        combination = task.combination([model.metadata for model in chosen]) if several or vote != "soft" else None
        if combination is not None and vote not in combination.votes:
            raise UnknownNameError(f"vote of the task {task.name}:", vote, combination.votes)
        classes = chosen[0].classes if task.data.open_set else common_classes([model.classes for model in chosen])
        combination = combination if several else None
        return cls(task, tuple(_members(chosen, task, classes, augmented, combination)), classes, augmented, combination)

    @property
    def models(self) -> list[Model]:
        """The models, in their order."""
        return [member.model for member in self.members]

    def by_name(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return one value per model under the name that results give it: "model" alone, "model 1" and so on among several."""
        return {"model": values[0]} if len(values) == 1 else {f"model {number}": value for number, value in enumerate(values, start=1)}

    def preprocess(self) -> dict[str, Any]:
        """Return how pictures are prepared: of several models by name."""
        found = [model.preprocess.to_dict() for model in self.models]
        return found[0] if len(found) == 1 else self.by_name(found)

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of every model, by name."""
        return self.by_name([model_fingerprint(model) for model in self.models])

    def precision(self, asked: Precision) -> Precision:
        """Return the precision to compute those models in that aren't compiled.

        Raises:
            InputError: a model is compiled for another one than is asked for.
        """
        chosen, *_ = [pick_inference_precision(asked, model.precision) for model in self.models]
        return chosen

    def computed_in(self, precision: Precision) -> str:
        """Return what results say of the precision, where `precision` is that of models that aren't compiled."""
        return ", ".join(dict.fromkeys(model.precision or precision for model in self.models))

    def engines(self) -> dict[str, Any]:
        """Return what results say of the engines: nothing where no model is compiled."""
        engines = [model.making.to_dict() if isinstance(model, Compiled) else None for model in self.models]
        return {"engine": engines[0] if len(engines) == 1 else self.by_name(engines)} if any(engines) else {}

    def place(self, device: torch.device) -> None:
        """Move the models to a device."""
        for model in self.models:
            place(model, device)

    def answer(self, dataset: Dataset, reading: Reading, label: str = "evaluating") -> Iterator[Answered]:
        """Yield this process's share of the data, batch by batch, with one answer per picture and model; modes are restored at the end.

        A picture counts as read where every view of it could be made.

        Raises:
            ImageError: a picture can't be read and it isn't to be skipped.
        """
        loaders = self._loaders(dataset, reading)
        modes = [model.training for model in self.models]
        for model in self.models:
            model.eval()
        try:
            with ExitStack() as stack, torch.inference_mode(), autocast(reading.precision, self.models[0].device):
                steps = zip(*(stack.enter_context(closing(iter(loader))) for loader in loaders.values()), strict=True)
                for batches in reading.progress.track(steps, label, len(next(iter(loaders.values())))):
                    yield self._answered(dict(zip(loaders, batches, strict=True)))
        finally:
            for model, mode in zip(self.models, modes, strict=True):
                model.train(mode)

    def _loaders(self, dataset: Dataset, reading: Reading) -> dict[Preprocess, Batches | PooledBatches]:
        """Return one loader for each way to prepare pictures; their batches hold the same samples."""
        ways = list(dict.fromkeys(view.preprocess for member in self.members for view in member.views))
        size = min(pick_batch_size(reading.batch_size, way, self.models[0].device) for way in ways)
        if reading.pooled is not None:
            return {ways[0]: reading.pooled.evaluation(size, reading.rank, reading.processes)}
        workers = -(-pick_workers(reading.workers, len(dataset)) // len(ways))  # shared out, none where there are none
        return {
            way: evaluation_loader(
                dataset, way, size, workers, reading.on_error, reading.rank, reading.processes,
                Decoding(None if reading.exact else way.min_size_hw, reading.max_pixels),
            )
            for way in ways
        }  # fmt: skip

    def _answered(self, batches: dict[Preprocess, AnyBatch]) -> Answered:
        first, *others = batches.values()
        read = set(first.keys).intersection(*(batch.keys for batch in others))
        kept = [place for place, key in enumerate(first.keys) if key in read]
        keys = tuple(first.keys[place] for place in kept)
        faults = {fault.key: fault for batch in batches.values() for fault in batch.skipped}
        by_member = [member.answer(batches, keys, self.combination) for member in self.members]
        return Answered(
            keys,
            tuple(first.targets[place] for place in kept),
            [list(answers) for answers in zip(*by_member, strict=True)],
            tuple(faults.values()),
        )


def _members(
    models: Sequence[Model], task: Task, classes: tuple[str, ...], tta: Sequence[str], combination: Combination | None
) -> Iterator[Member]:
    for number, model in enumerate(models, start=1):
        views: tuple[View, ...] = (View(model.preprocess),)
        if combination is not None:
            views = views_of(model.preprocess, tta, combination.scales, model.backbone.levels[-1].stride)
        counted = None if task.data.open_set or len(models) == 1 else new_index(f"model {number}", model.classes, classes)
        yield Member(model, views, counted)
