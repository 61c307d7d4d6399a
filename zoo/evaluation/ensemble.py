"""Ensembles: several models, or one model with several views, that predict on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import torch

from zoo.data.dataset import Dataset
from zoo.data.loader import Batch, Batches, evaluation_loader, pick_batch_size
from zoo.data.read_settings import Reading
from zoo.errors import UnknownNameError
from zoo.evaluation.answers import Answered
from zoo.evaluation.augmentation import View, mirrored, views_of
from zoo.evaluation.group import ModelGroup
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.classes import common_classes, new_index
from zoo.models.inference import answers, evaluation_mode
from zoo.models.model import Model
from zoo.system.hardware import autocast, pick_workers
from zoo.task.combination import Combination, check_tta
from zoo.task.contract import Task


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
