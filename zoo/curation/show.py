"""Samples with their targets as the model receives them, after augmentation and preprocessing (`zoo data show`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image as PILImage

from zoo.curation.check.items import class_name
from zoo.data.dataset import ATTRIBUTE, Dataset, Image, OnError
from zoo.data.loader import evaluation_loader, training_loader
from zoo.data.sampling import Shuffled, TrainingPlan
from zoo.errors import Fault
from zoo.images.preprocess import Preprocess, as_float
from zoo.report.sheet import Seen
from zoo.task.contract import Task
from zoo.task.recipe import Recipe

_SIDE = 448  # pixels: maximum length of the longer side of unprocessed images


def seen(
    dataset: Dataset, task: Task, preprocess: Preprocess, recipe: Recipe | None, *, n: int, variants: int = 1, seed: int = 0,
    on_error: OnError = "raise",
) -> tuple[list[list[Seen]], list[Fault]]:  # fmt: skip
    """Load samples through the loaders used for training and evaluation.

    `n` samples are chosen at random; the choice depends on the seed and the keys, but not on the order of the samples. With a recipe, they
    are augmented as in training, `variants` times with different random numbers. Without a recipe, they are loaded as in evaluation. Return
    a list of variants for each sample, in dataset order; and the errors of skipped images.
    """
    drawn = sorted(dataset.records, key=lambda record: hashlib.sha256(f"{seed}:{record.key}".encode()).digest())[:n]
    chosen = {record.key for record in drawn}
    part = replace(dataset, records=tuple(record for record in dataset.records if record.key in chosen))
    shown: dict[str, list[Seen]] = {record.key: [] for record in part.records}
    lost: dict[str, Fault] = {}
    if recipe is None:
        batches = evaluation_loader(part, preprocess, 8, 0, on_error)
    else:
        plan = TrainingPlan(Shuffled(len(part), min(8, len(part)), 1), variants, seed)
        prepare = task.data.training_preprocess(recipe, preprocess)
        batches = training_loader(part, prepare, plan, 0, on_error, task.data.augment(recipe, prepare, part))
    for batch in batches:
        lost |= {fault.key: fault for fault in batch.skipped}
        if batch.images is None:
            continue
        pixels = (as_float(batch.images.pixels).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        sizes = zip(batch.images.sizes_hw, batch.images.original_sizes_hw, strict=True)
        for image, (size, original), target, key in zip(pixels, sizes, batch.targets, batch.keys, strict=True):
            visible = np.ascontiguousarray(image[: size[0], : size[1]])
            shown[key].append(_seen(key, visible, target, original, dataset.classes, task))
    return [variants for variants in shown.values() if variants], list(lost.values())


def _seen(key: str, image: Image, target: Any, frame_hw: tuple[int, int], classes: Sequence[str], task: Task) -> Seen:
    """Return an image with its target. The target's boxes are in pixels of an image of size `frame_hw` and are rescaled."""
    labels = () if target is None else tuple(class_name(classes, label) for label in task.data.labels(target))
    if not isinstance(target, Mapping):
        return Seen(key, image, labels)
    scale = np.array([image.shape[1] / frame_hw[1], image.shape[0] / frame_hw[0]] * 2, np.float32)
    known = [values for name, values in target.items() if name.startswith(ATTRIBUTE)]
    details = tuple(", ".join(filter(None, (str(values[row]) for values in known))) for row in range(len(labels)))
    return Seen(key, image, labels, np.asarray(target["boxes"], np.float32) * scale, details)


def originals(dataset: Dataset, keys: Sequence[str], task: Task) -> dict[str, Seen]:
    """Return samples by key, neither augmented nor preprocessed: upright images, reduced to display size, with their boxes."""
    wanted = set(keys)
    shown: dict[str, Seen] = {}
    for sample in (record.load() for record in dataset.records if record.key in wanted):
        height, width = sample.image.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))  # many full-size photos would need too much memory
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(PILImage.fromarray(sample.image).resize(size, PILImage.Resampling.LANCZOS)) if scale < 1 else sample.image
        shown[sample.key] = _seen(sample.key, small, sample.target, (height, width), dataset.classes, task)
    return shown


def value_range(rows: Sequence[Sequence[Seen]], preprocess: Preprocess) -> tuple[float, float]:
    """Return the minimum and maximum of the normalised pixel values, which are the input of the first layer."""
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    ends = [end for variants in rows for one in variants for end in (one.image.min((0, 1)), one.image.max((0, 1)))]
    values = (np.stack(ends) / 255 - mean) / std
    return float(values.min()), float(values.max())
