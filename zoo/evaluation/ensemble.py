"""Ensembles: several models, or one model with several views, that predict on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import torch

from zoo.data.dataset import Dataset
from zoo.data.loader import Batch, Batches, Reading, evaluation_loader, pick_batch_size
from zoo.errors import InputError, UnknownNameError
from zoo.evaluation.answers import Answered
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.classes import common_classes, new_index
from zoo.models.fingerprint import model_fingerprint
from zoo.models.inference import answers, evaluation_mode
from zoo.models.model import Model
from zoo.system.hardware import autocast, pick_inference_precision, pick_workers, place
from zoo.system.precision import Precision
from zoo.task.combination import Combination, check_tta
from zoo.task.contract import Task, get_task


@dataclass(frozen=True)
class ModelGroup:
    """One or more models of the same task.

    Attributes:
        models: the models, in the order of the arguments.
    """

    models: tuple[Model, ...]

    @classmethod
    def of(cls, models: Model | Sequence[Model]) -> ModelGroup:
        """Create a group of models.

        Raises:
            InputError: no model is passed, or the models have different tasks.
        """
        chosen = (models,) if isinstance(models, Model) else tuple(models)
        if not chosen:
            raise InputError("nothing to evaluate: pass at least one model")
        tasks = sorted({model.task for model in chosen})
        if len(tasks) > 1:
            raise InputError(f"ensemble: the models have different tasks ({', '.join(tasks)}); expected models of the same task")
        return cls(chosen)

    @property
    def task(self) -> Task:
        """The task of the models."""
        return get_task(self.models[0].task)

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """Metadata of each model."""
        return [model.metadata for model in self.models]

    def by_name(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return a dict from model names to values. A single model is called "model"; several are called "model 1", "model 2" and so on."""
        return {"model": values[0]} if len(values) == 1 else {f"model {number}": value for number, value in enumerate(values, start=1)}

    def preprocess(self) -> dict[str, Any]:
        """Return the preprocessing of a single model, or a dict of preprocessings by model name for several."""
        found = [model.preprocess.to_dict() for model in self.models]
        return found[0] if len(found) == 1 else self.by_name(found)

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each model by model name."""
        return self.by_name([model_fingerprint(model) for model in self.models])

    def engines(self) -> dict[str, Any]:
        """Return details of the engines for the evaluation result; empty if no model is compiled."""
        engines = [model.engine_details() for model in self.models]
        return {"engine": engines[0] if len(engines) == 1 else self.by_name(engines)} if any(engines) else {}

    def precision(self, asked: Precision) -> Precision:
        """Return the precision for running the models that aren't compiled.

        Args:
            asked: requested precision.

        Raises:
            InputError: a model is compiled for a precision other than `asked`.
        """
        chosen, *_ = [pick_inference_precision(asked, model.precision) for model in self.models]
        return chosen

    def reported_precision(self, precision: Precision) -> str:
        """Return the precision of all models for the evaluation result. `precision` is that of models that aren't compiled."""
        return ", ".join(dict.fromkeys(model.precision or precision for model in self.models))

    def place(self, device: torch.device) -> None:
        """Move the models to a device."""
        for model in self.models:
            place(model, device)


@dataclass(frozen=True)
class View:
    """Definition of a view of an image.

    Attributes:
        preprocess: the model's preprocessing, possibly with another image size.
        mirror: whether the preprocessed image is flipped horizontally.
    """

    preprocess: Preprocess
    mirror: bool = False


def views_of(preprocess: Preprocess, tta: Sequence[str], scales: Sequence[float], stride: int) -> tuple[View, ...]:
    """Return the views for test-time augmentation, starting with the unmodified one.

    Args:
        preprocess: the model's preprocessing.
        tta: names of augmentations. "flip" adds a flipped view for each size, and "scales" adds other sizes.
        scales: input sizes for "scales", as factors of the model's input size.
        stride: stride of the backbone's deepest level, in pixels. Sizes are rounded to multiples of it. With the resize policy "fit",
            they are rounded to whole pixels, because images are padded to a multiple of the stride.
    """
    step = 1 if preprocess.pads else stride
    others = [_scaled(preprocess, scale, step) for scale in scales if scale != 1] if "scales" in tta else []
    sizes = dict.fromkeys([preprocess, *others])  # remove duplicates: several scales of a small input may be rounded to the same size
    return tuple(View(size, mirror) for size in sizes for mirror in ((False, True) if "flip" in tta else (False,)))


def _scaled(preprocess: Preprocess, scale: float, step: int) -> Preprocess:
    height, width = (max(1, round(side * scale / step)) * step for side in preprocess.size_hw)
    return replace(preprocess, size_hw=(height, width))


def mirrored(batch: ImageBatch) -> ImageBatch:
    """Flip each image of a batch horizontally within its unpadded size. The padding stays at the right and bottom."""
    pixels = batch.pixels.clone()
    for row, (height, width) in zip(pixels, batch.sizes_hw, strict=True):
        row[:, :height, :width] = row[:, :height, :width].flip(2)
    return ImageBatch(pixels, batch.sizes_hw, batch.original_sizes_hw)


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
        model: the model.
        views: views of each image on which the model predicts.
        new_index: for each class of the model, its index among the ensemble's classes; None if the class order is the same.
    """

    model: Model
    views: tuple[View, ...]
    new_index: list[int] | None

    def answer(self, batches: dict[Preprocess, Batch[ImageBatch]], keys: Sequence[str], combination: Combination) -> list[Any]:
        """Return the model's predictions, one per key, combined over its views."""
        views = [self._view(view, batches[view.preprocess], keys, combination) for view in self.views]
        found = [several[0] if len(several) == 1 else combination.views(several) for several in zip(*views, strict=True)]
        if self.new_index is None:
            return found
        return [combination.recounted(answer, self.new_index) for answer in found]

    def _view(self, view: View, batch: Batch[ImageBatch], keys: Sequence[str], combination: Combination) -> list[Any]:
        if batch.images is None:
            return []
        images = batch.images
        if not view.mirror:
            found = answers(self.model, images)
        else:
            seen = zip(answers(self.model, mirrored(images)), images.original_sizes_hw, strict=True)
            found = [combination.mirrored(answer, size) for answer, size in seen]
        by_key = dict(zip(batch.keys, found, strict=True))
        return [by_key[key] for key in keys]


@dataclass(frozen=True)
class Ensemble:
    """Models of one task, or one model with several views.

    Attributes:
        group: the models.
        members: each model with its views.
        classes: class names by index in the combined predictions.
        tta: test-time augmentations.
        combination: the object that combines predictions, provided by the task.
    """

    group: ModelGroup
    members: tuple[Member, ...]
    classes: tuple[str, ...]
    tta: tuple[str, ...]
    combination: Combination

    @classmethod
    def of(cls, models: Model | Sequence[Model], vote: str = "soft", tta: Sequence[str] = ()) -> Ensemble:
        """Create an ensemble.

        Args:
            models: the models.
            vote: voting method, one of `Combination.votes`.
            tta: names of test-time augmentations.

        Raises:
            InputError: no model is passed, the models differ in task or classes, or the task can't combine predictions.
            UnknownNameError: the vote or an augmentation is unknown.
        """
        augmented, group = check_tta(tta), ModelGroup.of(models)
        combination = voted(group, vote)
        several = [model.classes for model in group.models]
        classes = several[0] if group.task.data.open_set else common_classes(several)
        return cls(group, tuple(_members(group.models, group.task, classes, augmented, combination)), classes, augmented, combination)

    def answer(self, dataset: Dataset, reading: Reading, label: str = "evaluating") -> Iterator[Answered]:
        """Run all models on this process's subset of a dataset, and yield batches with a list of predictions, one per model, per image.

        Images are skipped unless all of their views can be read. The training or evaluation mode of each model is restored at the end.

        Args:
            dataset: the relabelled dataset.
            reading: how images are read.
            label: label of the progress bar.

        Raises:
            ImageError: an image can't be read and `reading.on_error` is "raise".
        """
        loaders, device = self._loaders(dataset, reading), self.group.models[0].device
        with ExitStack() as stack, evaluation_mode(*self.group.models), torch.inference_mode(), autocast(reading.precision, device):
            steps = zip(*(stack.enter_context(closing(iter(loader))) for loader in loaders.values()), strict=True)
            for batches in reading.progress.track(steps, label, len(next(iter(loaders.values())))):
                yield self._answered(dict(zip(loaders, batches, strict=True)))

    def _loaders(self, dataset: Dataset, reading: Reading) -> dict[Preprocess, Batches]:
        """Return one loader per distinct preprocessing. All loaders return the same samples in the same order."""
        ways = list(dict.fromkeys(view.preprocess for member in self.members for view in member.views))
        size = min(pick_batch_size(reading.batch_size, way, self.group.models[0].device) for way in ways)
        workers = -(-pick_workers(reading.workers, len(dataset)) // len(ways))  # divided between the loaders
        return {
            way: evaluation_loader(
                dataset, way, size, workers, reading.on_error, reading.rank, reading.processes, reading.decoding(way.min_size_hw)
            )
            for way in ways
        }

    def _answered(self, batches: dict[Preprocess, Batch[ImageBatch]]) -> Answered:
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


def voted(group: ModelGroup, vote: str) -> Combination:
    """Return the object that combines the predictions of a group of models, after checking that it supports the vote.

    Raises:
        InputError: the task can't combine predictions.
        UnknownNameError: the task doesn't support the vote.
    """
    combination = group.task.combination(group.metadata)
    if vote not in combination.votes:
        raise UnknownNameError(f"vote of the task {group.task.name}:", vote, combination.votes)
    return combination


def _members(
    models: Sequence[Model], task: Task, classes: tuple[str, ...], tta: Sequence[str], combination: Combination
) -> Iterator[Member]:
    for number, model in enumerate(models, start=1):
        views = views_of(model.preprocess, tta, combination.scales, model.backbone.levels[-1].stride)
        counted = None if task.data.open_set or len(models) == 1 else new_index(f"model {number}", model.classes, classes)
        yield Member(model, views, counted)
