"""Pooled features (the spatial mean of the backbone's deepest level), and heads that need no other features.

The features of a frozen backbone don't change, so these heads can be trained on stored features without running the backbone again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.backbones import Features
from zoo.data.loader import Batch
from zoo.images.preprocess import ImageBatch
from zoo.task.head import Head, Losses, Tensors


@dataclass(frozen=True)
class PooledBatch:
    """A batch of pooled features. A model with a `PooledHead` accepts it in place of images.

    Attributes:
        pooled: [B, C] float32, as returned by `PooledHead.pool`.
    """

    pooled: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pooled)

    def to(self, device: torch.device | str) -> PooledBatch:
        """Return the batch on `device`."""
        return PooledBatch(self.pooled.to(device))


AnyImages = ImageBatch | PooledBatch


class PooledHead(Head):
    """Base class of heads that use only the spatial mean of the backbone's deepest level."""

    def pool(self, features: Features) -> Tensor:
        """Return the spatial mean of the deepest level: [B, C], float32 regardless of the backbone's precision."""
        return features[next(reversed(features))].float().mean((2, 3))

    @abstractmethod
    def answer(self, pooled: Tensor) -> Any:
        """Return the output in the task's format for pooled features [B, C]."""

    @abstractmethod
    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return scalar losses by name for pooled features [B, C]."""

    def tensors(self, features: Features) -> Tensors:
        """Return the output as a tuple of one tensor."""
        return (self.answer(self.pool(features)),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the output in the task's format."""
        return tensors[0]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return scalar losses by name."""
        return self.pooled_loss(self.pool(features), targets)


class RememberingHead(PooledHead):
    """Base class of heads without parameters, such as k-nearest neighbours. They store the pooled features of all training images."""

    @abstractmethod
    def remember(self, pooled: Tensor, targets: Any) -> None:
        """Store pooled features [N, C] and their targets. Replaces previously stored ones."""


AnyBatch = Batch[ImageBatch] | Batch[PooledBatch]


class FeatureBatches(Protocol):
    """Batches of pooled features in a fixed order."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Generator[Batch[PooledBatch]]:
        """Iterate over the batches."""


class FeatureSource(Protocol):
    """Stored pooled features of a dataset, created by `zoo.training.features`."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset."""

    def evaluation(self, batch_size: int, rank: int, processes: int) -> FeatureBatches:
        """Return the batches of the process `rank`. Across all processes, every sample occurs exactly once."""
