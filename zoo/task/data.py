"""The data of a task: formats, targets, training settings, augmentation and sampling."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from zoo.data.dataset import Dataset, Sample
from zoo.data.formats import Scheme
from zoo.data.sampling import Balanced, Sampling, Shuffled
from zoo.data.writers import Writer
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.registry import Registry
from zoo.task.recipe import Recipe


def unchanged(sample: Sample) -> Sample:
    """Return the sample unchanged: the default augmentation."""
    return sample


class TaskData(ABC):
    """The data of a task. Only `schemes` must be set.

    Attributes:
        schemes: the data formats.
        writers: the data formats that can be written; None if there are none.
        sample_data: dataset string of built-in data, on whose images compiled models are compared; None if there is none.
        open_set: whether evaluation data has classes that the model wasn't trained on (such as the people in face verification).
        recipe: frozen dataclass of training settings, with tested defaults.
        recipes: presets by name: "quick", "standard" (the defaults) and "thorough".
    """

    schemes: ClassVar[Registry[Scheme]]
    writers: ClassVar[Registry[Writer] | None] = None
    sample_data: ClassVar[str | None] = None
    open_set: ClassVar[bool] = False
    recipe: ClassVar[type[Recipe]] = Recipe
    recipes: ClassVar[Mapping[str, Recipe]] = {"standard": Recipe()}

    def labels(self, target: Any) -> Sequence[int]:
        """Return the class indices in a sample's target: one, several, or (by default) none."""
        return ()

    def collate_targets(self, targets: Sequence[Any]) -> Any:
        """Return the targets of a batch as `Head.loss` takes them (tensors on the CPU); by default one tensor, floats as float32."""
        stacked = torch.as_tensor(np.stack([np.asarray(target) for target in targets]))
        return stacked.float() if stacked.is_floating_point() else stacked

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with each label i replaced by new_index[i] and `classes` as its classes; by default targets are unchanged."""
        return dataset.with_targets(lambda target: target, classes)

    def suit(self, recipe: Any, options: Any) -> Any:
        """Return the recipe with the settings filled in that depend on the model's options; by default unchanged.

        Raises:
            InputError: a model with these options can't be trained with the recipe.
        """
        return recipe

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return the training augmentation of single samples; by default none.

        Args:
            recipe: the training settings.
            preprocess: the preprocessing that follows.
            dataset: the training data, from which an augmentation may take further samples.

        Returns:
            A picklable function. It may use torch's global random generator, which the loader seeds for every sample.

        Raises:
            InputError: the recipe needs something that the data lacks.
        """
        return unchanged

    def training_preprocess(self, recipe: Any, preprocess: Preprocess) -> Preprocess:
        """Return the preprocessing of training images; by default the model's."""
        return preprocess

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return the smallest size in pixels at which training images may be decoded (`Decoding.min_size_hw`); None for full size.

        A smaller size is only allowed where targets have no coordinates, because coordinates refer to the full image.
        """
        return None

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Mix the images and targets of a batch (mixup, CutMix) on the device; torch's generators are seeded.

        Args:
            recipe: the training settings.
            images: the batch.
            targets: as returned by `collate_targets`.
            num_classes: number of the model's classes.

        Returns:
            Images and targets as `Head.loss` takes them; by default the arguments.
        """
        return images, targets

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Soften the targets of a batch that isn't mixed because its features are cached (label smoothing); arguments as for `mix`."""
        return targets

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return the sampler of an epoch's batches; by default shuffled, or balanced over classes where the recipe asks for it.

        Args:
            recipe: the training settings.
            dataset: the relabelled training data.
            batch_size: samples per batch over all processes.
            smallest: size of the smallest batch that all processes can train on.

        Raises:
            InputError: the data can't fill the batches that the recipe requests.
        """
        if recipe.balance == "classes":
            return Balanced(tuple(self.labels(record.target) for record in dataset.records), batch_size, smallest)
        return Shuffled(len(dataset), batch_size, smallest)
