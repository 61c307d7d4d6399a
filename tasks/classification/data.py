"""Data of classification: formats, targets, augmentation and mixing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from zoo.data.dataset import Dataset, Sample
from zoo.data.formats import Scheme
from zoo.data.writers import Writer
from zoo.errors import DataError, Fault, InputError
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.registry import Registry
from zoo.system.wording import counted
from zoo.task.data import IndexData
from zoo.task.recipe import Recipe
from zoo.tasks.classification.augment import Augment, mix, soften
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.options import RECIPES, ClassificationRecipe
from zoo.tasks.classification.writers import WRITERS


class ClassificationData(IndexData):
    """Data of classification: one class index for each image."""

    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS
    sample_data = "demo:digits"
    recipe: ClassVar[type[Recipe]] = ClassificationRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES
    mixing = ("mixup", "cutmix")
    variant_formats: ClassVar[Mapping[str, str]] = dict.fromkeys(("coco", "voc"), "multi_label=True (--multi-label)")

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with class indices of the model."""
        return super().relabel(self.checked(dataset, dataset.classes), new_index, classes)

    def checked(self, dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
        """Return the dataset; raise an `InputError` if a target isn't an index of a class, or has several numbers, as multi-label ones."""
        several = next((record for record in dataset.records if np.ndim(record.target) > 0), None)
        if several is not None:
            raise InputError(
                f"data {dataset.name!r}: the target of {several.key} has several numbers, but the model predicts one class per image; "
                "build it with multi_label=True (--multi-label), or use data with one class index per image"
            )
        places = range(len(classes))
        faults = [
            Fault(record.key, f"its class is {record.target}; expected a whole number from 0 to {len(classes) - 1}", whole=True)
            for record in dataset.records
            if isinstance(record.target, int | np.integer) and record.target not in places
        ]
        if faults:
            raise DataError(f"data {dataset.name!r}: {counted(len(faults), 'target')} without a class of the model:", faults)
        return dataset

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return the transformation of training images: random crop, flip, RandAugment and erasing."""
        return Augment(preprocess, recipe)

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return the minimum decoded size (height, width) for training, at which even the smallest random crop needs no upscaling.

        The smallest crop has a fraction `crop_scale` of a square image's area and an aspect ratio of 3:4. None if images are decoded at
        full size.
        """
        if preprocess.min_size_hw is None or recipe.crop_scale == 1:
            return preprocess.min_size_hw
        height, width = (math.ceil(side / math.sqrt(recipe.crop_scale * 3 / 4)) for side in preprocess.min_size_hw)
        return height, width

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Apply mixup or CutMix, and label smoothing, to a batch."""
        images, targets = mix(recipe, num_classes, images, targets)
        return images, self.soften(recipe, targets, num_classes)

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Apply label smoothing to the targets of a batch."""
        return soften(recipe, num_classes, targets)
