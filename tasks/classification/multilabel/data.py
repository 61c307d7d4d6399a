"""Data of multi-label classification: formats, targets, mixing and label smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from zoo.data.dataset import Dataset
from zoo.data.formats import Scheme
from zoo.data.writers import Writer
from zoo.registry import Registry
from zoo.tasks.classification.data import ClassificationData
from zoo.tasks.classification.multilabel.datasets import SCHEMES
from zoo.tasks.classification.multilabel.targets import converted, moved
from zoo.tasks.classification.multilabel.writers import WRITERS


class MultiLabelData(ClassificationData):
    """Data of multi-label classification: for each image and class, whether the class occurs. Targets are those of `targets.as_target`."""

    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS

    def labels(self, target: Any) -> Sequence[int]:
        """Return the classes that occur."""
        return [int(target)] if np.ndim(target) == 0 else np.flatnonzero(np.asarray(target) == 1).tolist()

    def collate_targets(self, targets: Sequence[Any]) -> torch.Tensor:
        """Return the targets as [B, K] float32."""
        return torch.from_numpy(np.stack(targets).astype(np.float32))

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with the classes of the model. Classes that the data doesn't have are unknown."""
        return converted(dataset).with_targets(lambda target: moved(target, new_index, len(classes)), classes)

    def checked(self, dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
        """Return the data with targets for multi-label models; class indices are converted, other targets raise an `InputError`."""
        return converted(dataset, len(classes))

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Apply label smoothing: each known target moves towards 1/2, because each class is a decision between two outcomes."""
        share = recipe.label_smoothing
        return (1 - share) * targets + share / 2 if share else targets
