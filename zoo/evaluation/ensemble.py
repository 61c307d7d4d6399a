"""Predictions on a dataset, batch by batch: of one model, or of an ensemble (several models, or one model with several views).

Each view is an image size, possibly with a flip. The predictions for an image are combined over the views of a model here, and over the
models in `zoo.evaluation.voting`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import torch

from zoo.data.dataset import Dataset
from zoo.data.loader import Batch, Batches, Reading, pick_batch_size
from zoo.errors import Fault, InputError, UnknownNameError
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.classes import common_classes, new_index
from zoo.models.fingerprint import model_fingerprint
from zoo.models.inference import answers, evaluation_mode
from zoo.models.model import Model
from zoo.system.hardware import autocast, pick_inference_precision, pick_workers, place
from zoo.system.precision import Precision
from zoo.task.combination import Combination, check_tta
from zoo.task.contract import Task
from zoo.task.head import FeatureBatches, FeatureSource


@dataclass(frozen=True)
class Answered:
    """A batch with its predictions: one target and one prediction for each key of an image that could be read."""

    keys: tuple[str, ...]
    targets: tuple[Any, ...]
    answers: list[Any]  # in the format of `Answers.split`; `Ensemble.answer` yields a list of these, one per model, for each key
    skipped: tuple[Fault, ...]  # errors of the images that could not be read


def answered(model: Model, dataset: Dataset, reading: Reading, features: FeatureSource | None = None) -> Iterator[Answered]:
    """Run a model on this process's subset of a dataset and yield its predictions batch by batch.

    The model's training or evaluation mode is restored at the end. If `features` are passed, pooled features of the dataset that were
    computed by the model's backbone, they are used instead of the images.
    """
    size = pick_batch_size(reading.batch_size, model.preprocess, model.device)
    loader: FeatureBatches | Batches
    if features is not None:
        loader = features.evaluation(size, reading.rank, reading.processes)
    else:
        loader = reading.loader(dataset, model.preprocess, size, pick_workers(reading.workers, len(dataset)))
    batches: Generator[Batch[Any]] = iter(loader)
    with evaluation_mode(model), torch.inference_mode(), autocast(reading.precision, model.device), closing(batches):
        for batch in reading.progress.track(batches, "evaluating", len(loader)):
            found = [] if batch.images is None else answers(model, batch.images)
            yield Answered(batch.keys, batch.targets, found, batch.skipped)


@dataclass(frozen=True)
class ModelGroup:
    """One or more models of the same task, in the order of the arguments."""

    models: tuple[Model, ...]

    @classmethod
    def of(cls, models: Model | Sequence[Model]) -> ModelGroup:
        """Create a group of models; raise an `InputError` if there are none, or they have different tasks."""
        chosen = (models,) if isinstance(models, Model) else tuple(models)
        if not chosen:
            raise InputError("nothing to evaluate: pass at least one model")
        tasks = sorted({model.task for model in chosen})
        if len(tasks) > 1:
            raise InputError(f"ensemble: the models have different tasks ({', '.join(tasks)}); expected models of the same task")
        if any(model.definition is not chosen[0].definition for model in chosen):
            raise InputError(f"ensemble: models of different variants of the task {tasks[0]} can't be combined; expected the same variant")
        return cls(chosen)

    @property
    def task(self) -> Task:
        """The task of the models."""
        return self.models[0].definition

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

    def hub(self) -> dict[str, dict[str, str]]:
        """Return the repository and the commit of each model that was loaded from the Hub, by model name."""
        return {name: commit for name, commit in self.by_name([model.hub for model in self.models]).items() if commit is not None}

    def engines(self) -> dict[str, Any]:
        """Return details of the engines for the evaluation result; empty if no model is compiled."""
        engines = [model.engine_details() for model in self.models]
        return {"engine": engines[0] if len(engines) == 1 else self.by_name(engines)} if any(engines) else {}

    def precision(self, asked: Precision) -> Precision:
        """Return the precision for models that aren't compiled; raise an `InputError` if one is compiled for another than `asked`."""
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
    """A view of an image: preprocessed, possibly to another size than the model's, and then flipped horizontally if `mirror` is true."""

    preprocess: Preprocess
    mirror: bool = False


def views_of(preprocess: Preprocess, tta: Sequence[str], scales: Sequence[float], stride: int) -> tuple[View, ...]:
    """Return the views for test-time augmentation, starting with the unmodified one.

    "scales" adds the input sizes `scales`, as factors of the model's input size, and "flip" adds a flipped view for each size. Sizes are
    rounded to multiples of `stride`, that of the backbone's deepest level in pixels. With the resize policy "fit", they are rounded to
    whole pixels, because images are padded to a multiple of the stride.
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
    """One model of an ensemble, and the views of each image on which it predicts."""

    model: Model
    views: tuple[View, ...]
    new_index: list[int] | None  # for each class of the model, its index among the ensemble's classes; None if the order is the same

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
        found = answers(self.model, mirrored(batch.images) if view.mirror else batch.images)
        if view.mirror:
            found = [combination.mirrored(answer, size) for answer, size in zip(found, batch.images.original_sizes_hw, strict=True)]
        by_key = dict(zip(batch.keys, found, strict=True))
        return [by_key[key] for key in keys]


@dataclass(frozen=True)
class Ensemble:
    """Models of one task, or one model with several views."""

    group: ModelGroup
    members: tuple[Member, ...]
    classes: tuple[str, ...]  # class names by index in the combined predictions
    tta: tuple[str, ...]
    combination: Combination

    @classmethod
    def of(cls, models: Model | Sequence[Model], vote: str = "soft", tta: Sequence[str] = ()) -> Ensemble:
        """Create an ensemble with the voting method `vote` and the test-time augmentations `tta`.

        Raises:
            InputError: no model is passed, the models differ in task or classes, or the task can't combine predictions.
            UnknownNameError: the vote or an augmentation is unknown.
        """
        augmented, group = check_tta(tta), ModelGroup.of(models)
        combination, open_set = voted(group, vote), group.task.data.open_set
        classes = group.models[0].classes if open_set else common_classes([model.classes for model in group.models])
        members = []
        for number, model in enumerate(group.models, start=1):
            views = views_of(model.preprocess, augmented, combination.scales, model.backbone.levels[-1].stride)
            renumbered = not open_set and len(group.models) > 1
            members.append(Member(model, views, new_index(f"model {number}", model.classes, classes) if renumbered else None))
        return cls(group, tuple(members), classes, augmented, combination)

    def answer(self, dataset: Dataset, reading: Reading, label: str = "evaluating") -> Iterator[Answered]:
        """Run all models on this process's subset of a dataset, and yield batches with a list of predictions, one per model, per image.

        Images are skipped unless all of their views can be read. The training or evaluation mode of each model is restored at the end.
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
        return {way: reading.loader(dataset, way, size, workers) for way in ways}

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
    """Return the object that combines the predictions of a group of models; raise an error unless the task supports this and the vote."""
    combination = group.task.combination(group.metadata)
    if vote not in combination.votes:
        raise UnknownNameError(f"vote of the task {group.task.name}:", vote, combination.votes)
    return combination
