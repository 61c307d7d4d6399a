"""`zoo data show`: samples as the model receives them, after augmentation and preprocessing, with their targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.loader import Batch, Batches, evaluation_loader, training_loader
from zoo.data.plan import TrainingPlan
from zoo.data.sampling import Shuffled
from zoo.errors import Fault
from zoo.images.preprocess import ImageBatch, Preprocess, as_float
from zoo.report.sheet import Seen
from zoo.task.contract import Task
from zoo.task.recipe import Recipe

_SIDE = 448  # pixels: longer side of the originals


def seen(
    dataset: Dataset, task: Task, preprocess: Preprocess, recipe: Recipe | None, *, n: int, variants: int = 1, seed: int = 0,
    on_error: OnError = "raise",
) -> tuple[list[list[Seen]], list[Fault]]:  # fmt: skip
    """Pass samples through the same loaders that training and evaluation use.

    Args:
        dataset: the data.
        task: task that defines augmentation and targets.
        preprocess: preprocessing of the model.
        recipe: training recipe, to augment the samples; None for samples as in evaluation.
        n: number of samples; the choice depends on the seed and not on their order.
        variants: number of times each sample is shown, with a different augmentation each time.
        seed: seed of the choice and the augmentation.
        on_error: "raise", or "skip" to skip images that can't be read.

    Returns:
        One list of variants per sample, in the order of the data; and the skipped images.

    Raises:
        ImageError: an image can't be read.
    """
    drawn = sorted(dataset.records, key=lambda record: hashlib.sha256(f"{seed}:{record.key}".encode()).digest())[:n]
    chosen = {record.key for record in drawn}
    part = replace(dataset, records=tuple(record for record in dataset.records if record.key in chosen))
    shown: dict[str, list[Seen]] = {record.key: [] for record in part.records}
    lost: dict[str, Fault] = {}
    for batch in _batches(part, task, preprocess, recipe, variants, seed, on_error):
        lost |= {fault.key: fault for fault in batch.skipped}
        for one in _pictures(batch, dataset.classes):
            shown[one.key].append(one)
    return [variants for variants in shown.values() if variants], list(lost.values())


def _batches(
    part: Dataset, task: Task, preprocess: Preprocess, recipe: Recipe | None, variants: int, seed: int, on_error: OnError
) -> Batches:
    if recipe is None:
        return evaluation_loader(part, preprocess, 8, 0, on_error)
    plan = TrainingPlan(Shuffled(len(part), min(8, len(part)), 1), variants, seed)
    prepare = task.data.training_preprocess(recipe, preprocess)
    return training_loader(part, prepare, plan, 0, on_error, task.data.augment(recipe, prepare, part))


def _pictures(batch: Batch[ImageBatch], classes: Sequence[str]) -> Iterator[Seen]:
    if batch.images is None:
        return
    pixels = (as_float(batch.images.pixels).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    sizes = zip(batch.images.sizes_hw, batch.images.original_sizes_hw, strict=True)
    for image, (size, original), target, key in zip(pixels, sizes, batch.targets, batch.keys, strict=True):
        visible = np.ascontiguousarray(image[: size[0], : size[1]])
        if isinstance(target, Mapping):
            scale = np.array([size[1] / original[1], size[0] / original[0]] * 2, np.float32)
            yield Seen(key, visible, tuple(_named(classes, label) for label in target["labels"]), np.asarray(target["boxes"]) * scale)
        else:
            yield Seen(key, visible, () if target is None else (_named(classes, target),))


def originals(dataset: Dataset, keys: Sequence[str]) -> dict[str, Seen]:
    """Return samples as stored in the data: upright, with their original boxes, neither augmented nor preprocessed.

    Args:
        dataset: the data.
        keys: keys of the samples.

    Raises:
        ImageError: an image can't be read.
    """
    wanted = set(keys)
    return {record.key: _original(record, dataset.classes) for record in dataset.records if record.key in wanted}


def _original(record: Record, classes: Sequence[str]) -> Seen:
    sample = record.load()
    height, width = sample.image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))  # full-size phone photos would fill the memory
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.LANCZOS)) if scale < 1 else sample.image
    if isinstance(sample.target, Mapping):
        boxes = np.asarray(sample.target["boxes"], np.float32) * np.array([size[0] / width, size[1] / height] * 2, np.float32)
        return Seen(record.key, small, tuple(_named(classes, label) for label in sample.target["labels"]), boxes)
    return Seen(record.key, small, () if sample.target is None else (_named(classes, sample.target),))


def value_range(rows: Sequence[Sequence[Seen]], preprocess: Preprocess) -> tuple[float, float]:
    """Return the lowest and highest value that the first layer receives from these images, after normalisation."""
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    ends = [end for variants in rows for one in variants for end in (one.image.min((0, 1)), one.image.max((0, 1)))]
    values = (np.stack(ends) / 255 - mean) / std
    return float(values.min()), float(values.max())


def _named(classes: Sequence[str], label: Any) -> str:
    return classes[int(label)] if 0 <= int(label) < len(classes) else str(label)
