"""Pictures as a trunk has seen them: the mean of its deepest level, which is all that some heads look at.

What a frozen trunk makes of a picture stays the same, so such a head can learn from it without the trunk running again.
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
    """A batch of pictures that have passed through a trunk already; a model with a `PooledHead` takes it in the place of pictures.

    Attributes:
        pooled: [B, C] float32, as `PooledHead.pool` gives it.
    """

    pooled: Tensor

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pooled)

    def to(self, device: torch.device | str) -> PooledBatch:
        """Return the batch on `device`."""
        return PooledBatch(self.pooled.to(device))


AnyImages = ImageBatch | PooledBatch


class PooledHead(Head):
    """A head that looks at the mean of the trunk's deepest level alone."""

    def pool(self, features: Features) -> Tensor:
        """Return the mean of the deepest level over its places: [B, C], float32 whatever the precision of the trunk."""
        return features[next(reversed(features))].float().mean((2, 3))

    @abstractmethod
    def answer(self, pooled: Tensor) -> Any:
        """Answer in the task's own convention, from pooled features [B, C]."""

    @abstractmethod
    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return named scalar losses, from pooled features [B, C]."""

    def tensors(self, features: Features) -> Tensors:
        """Return the answer: it is one tensor."""
        return (self.answer(self.pool(features)),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the answer in the task's own convention."""
        return tensors[0]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return named scalar losses."""
        return self.pooled_loss(self.pool(features), targets)


class RememberingHead(PooledHead):
    """A head that learns by heart, in one pass over the data: it remembers what the trunk makes of every picture, and has no parameters."""

    @abstractmethod
    def remember(self, pooled: Tensor, targets: Any) -> None:
        """Take pooled features [N, C] with their targets, and forget what was remembered before."""


AnyBatch = Batch[ImageBatch] | Batch[PooledBatch]


class FeatureBatches(Protocol):
    """Batches of pooled features in a fixed order."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Generator[Batch[PooledBatch]]:
        """Iterate over the batches."""


class FeatureSource(Protocol):
    """A dataset whose images have been run through the backbone already; `zoo.training.features` makes them."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset."""

    def evaluation(self, batch_size: int, rank: int, processes: int) -> FeatureBatches:
        """Return the batches of one process, every sample exactly once over all processes."""
