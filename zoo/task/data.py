"""How a task handles data: formats, targets, training settings, augmentation and sampling."""

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
    """Return the sample unchanged. This is the default augmentation."""
    return sample


class TaskData(ABC):
    """How a task handles data. Subclasses must set `schemes`; everything else is optional.

    Attributes:
        schemes: input formats by name.
        writers: output formats by name; None if the task can't write datasets.
        sample_data: dataset string of a built-in dataset, used to compare compiled models with the original; None if there is none.
        open_set: whether evaluation data has classes that the model wasn't trained on, as in face verification.
        recipe: frozen dataclass of the training settings, with tested defaults.
        recipes: presets of the training settings by name: "quick", "standard" (the defaults) and "thorough".
        mixing: names of the training settings, numbers that are 0 if disabled, of augmentations that mix several images. They are disabled
            for images that have targets of several heads.
        variant_formats: formats that only another variant of the task reads, with the option that selects the variant.
    """

    schemes: ClassVar[Registry[Scheme]]
    writers: ClassVar[Registry[Writer] | None] = None
    sample_data: ClassVar[str | None] = None
    open_set: ClassVar[bool] = False
    recipe: ClassVar[type[Recipe]] = Recipe
    recipes: ClassVar[Mapping[str, Recipe]] = {"standard": Recipe()}
    mixing: ClassVar[tuple[str, ...]] = ()
    variant_formats: ClassVar[Mapping[str, str]] = {}

    def labels(self, target: Any) -> Sequence[int]:
        """Return the class indices in the target of a sample. Empty by default."""
        return ()

    def collate_targets(self, targets: Sequence[Any]) -> Any:
        """Collate a batch's targets for `Head.loss`, on the CPU. By default, one tensor of float32 or int64."""
        stacked = torch.as_tensor(np.stack([np.asarray(target) for target in targets]))
        return stacked.float() if stacked.is_floating_point() else stacked.long()

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the dataset with these classes, and with each label i replaced by new_index[i]. By default, targets are unchanged."""
        return dataset.with_targets(lambda target: target, classes)

    def checked(self, dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
        """Return a relabelled dataset with targets in the form that the models of this task require. By default, return it unchanged.

        Args:
            dataset: the data, with the labels of the model.
            classes: the model's class names.

        Raises:
            InputError: a target isn't suitable for the models of this task.
        """
        return dataset

    def check_training(self, dataset: Dataset) -> Sequence[str]:
        """Check relabelled training data before the first step, and return notes for the user. Empty by default.

        Raises:
            InputError: models of this variant of the task can't be trained on the data.
        """
        return ()

    def suit(self, recipe: Any, options: Any) -> Any:
        """Fill in the recipe settings that depend on the model's options. By default, return the recipe unchanged.

        Raises:
            InputError: a model with these options can't be trained with this recipe.
        """
        return recipe

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return the training augmentation, which is applied to each sample. By default, samples are unchanged.

        Args:
            recipe: the training settings.
            preprocess: the preprocessing that is applied after the augmentation.
            dataset: the training data. An augmentation may load other samples from it.

        Returns:
            A picklable function. It may use torch's global random generator, because the loader seeds it for every sample.

        Raises:
            InputError: the dataset doesn't meet the recipe's requirements.
        """
        return unchanged

    def training_preprocess(self, recipe: Any, preprocess: Preprocess) -> Preprocess:
        """Return the preprocessing of training images. By default, it is the model's preprocessing."""
        return preprocess

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return the minimum decoded size (height, width) of training images, in pixels.

        It is used as `Decoding.min_size_hw`; None means full size. Decoding at a reduced size is allowed only if targets have no
        coordinates, because coordinates refer to the full image.
        """
        return None

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Mix the images and targets of a batch (mixup, CutMix) on the device. The caller has seeded torch's random generators.

        Args:
            recipe: the training settings.
            images: the batch.
            targets: as returned by `collate_targets`.
            num_classes: number of the model's classes.

        Returns:
            Mixed images and targets for `Head.loss`. By default, the unchanged arguments.
        """
        return images, targets

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Apply label smoothing to a batch of cached features, for which `mix` isn't called. By default, return the targets unchanged."""
        return targets

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return the sampler of an epoch's batches. By default, it shuffles, or balances classes if `recipe.balance` is "classes".

        Args:
            recipe: the training settings.
            dataset: the relabelled training data.
            batch_size: number of samples per batch over all processes.
            smallest: minimum size of a batch that all processes can train on.

        Raises:
            InputError: the dataset can't fill the batches that the recipe requests.
        """
        if recipe.balance == "classes":
            return Balanced(tuple(self.labels(record.target) for record in dataset.records), batch_size, smallest)
        return Shuffled(len(dataset), batch_size, smallest)


class IndexData(TaskData):
    """The data of a task whose target is one class index per image."""

    def labels(self, target: Any) -> Sequence[int]:
        """Return the one class."""
        return [int(target)]

    def collate_targets(self, targets: Sequence[Any]) -> torch.Tensor:
        """Return the class indices as [B] int64, whatever their type in the dataset."""
        return torch.tensor(targets, dtype=torch.int64)

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with class indices of the model."""
        return dataset.with_targets(lambda label: new_index[label], classes)
