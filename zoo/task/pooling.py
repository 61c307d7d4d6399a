"""Pooled features: the mean over the backbone's deepest level, which is all that some heads need.

The features of a frozen backbone don't change, so such a head can be trained on stored features without running the backbone again.
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
    """A batch of pooled features, which a model with a `PooledHead` accepts in place of images.

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
    """A head that uses only the mean of the backbone's deepest level."""

    def pool(self, features: Features) -> Tensor:
        """Return the spatial mean of the deepest level: [B, C], float32 regardless of the backbone's precision."""
        return features[next(reversed(features))].float().mean((2, 3))

    @abstractmethod
    def answer(self, pooled: Tensor) -> Any:
        """Return the answer in the task's format from pooled features [B, C]."""

    @abstractmethod
    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return named scalar losses from pooled features [B, C]."""

    def tensors(self, features: Features) -> Tensors:
        """Return the answer, which is a single tensor."""
        return (self.answer(self.pool(features)),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the answer in the task's format."""
        return tensors[0]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return named scalar losses."""
        return self.pooled_loss(self.pool(features), targets)


class RememberingHead(PooledHead):
    """A head without parameters that stores the pooled features of all images in one pass, such as k-nearest neighbours."""

    @abstractmethod
    def remember(self, pooled: Tensor, targets: Any) -> None:
        """Store pooled features [N, C] with their targets, replacing those stored before."""


AnyBatch = Batch[ImageBatch] | Batch[PooledBatch]


class FeatureBatches(Protocol):
    """Batches of pooled features in a fixed order."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Generator[Batch[PooledBatch]]:
        """Iterate over the batches."""


class FeatureSource(Protocol):
    """Stored features of a dataset, whose images have already been run through the backbone; `zoo.training.features` creates them."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset."""

    def evaluation(self, batch_size: int, rank: int, processes: int) -> FeatureBatches:
        """Return the batches of one process; over all processes, every sample occurs exactly once."""
