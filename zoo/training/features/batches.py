"""Batches of cached features, which replace the batches of images from a loader."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from zoo.data.dataset import Dataset
from zoo.data.fingerprint import data_fingerprint
from zoo.data.loader import Batch
from zoo.data.plan import TrainingPlan
from zoo.task.pooling import PooledBatch
from zoo.training.features.file import FeatureRows


@dataclass(frozen=True)
class PooledData:
    """A dataset with its pooled features.

    Attributes:
        dataset: the dataset. Only its keys and targets are used.
        features: pooled features, one row per sample.
    """

    dataset: Dataset
    features: FeatureRows

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset. It is computed only once, because valid cached features mean that no image has changed."""
        return data_fingerprint(self.dataset)

    @cached_property
    def _columns(self) -> tuple[list[str], list[Any]]:
        """Keys and targets of all samples, collected once, because collecting them per batch would take longer than a training step."""
        return [record.key for record in self.dataset.records], [record.target for record in self.dataset.records]

    def training(self, plan: TrainingPlan, start: int) -> Generator[Batch[PooledBatch]]:
        """Return the same batches as `training_loader`, from batch number `start`, but with pooled features and without augmentation."""
        return (self.batch(share.positions) for share in plan.shares_from(start))

    def evaluation(self, batch_size: int, rank: int, processes: int) -> PooledBatches:
        """Return the same batches as `evaluation_loader`, but with pooled features."""
        own = range(rank, len(self.dataset), processes)
        return PooledBatches(self, [own[start : start + batch_size] for start in range(0, len(own), batch_size)])

    def batch(self, positions: Sequence[int]) -> Batch[PooledBatch]:
        """Return the batch with the samples at these positions. Errors of unreadable samples are in `Batch.skipped`."""
        keys, targets = self._columns
        faults = self.features.faults
        good = [position for position in positions if position not in faults] if faults else positions
        skipped = tuple(faults[position] for position in positions if position in faults) if faults else ()
        pooled = PooledBatch(self.features.rows[torch.tensor(good)]) if good else None
        return Batch(pooled, tuple(targets[position] for position in good), tuple(keys[position] for position in good), skipped)


@dataclass(frozen=True)
class PooledBatches:
    """Batches of pooled features in a fixed order.

    Attributes:
        data: dataset with its features.
        positions: for each batch, the positions of its samples in the dataset.
    """

    data: PooledData
    positions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.positions)

    def __iter__(self) -> Generator[Batch[PooledBatch]]:
        """Iterate over the batches."""
        return (self.data.batch(positions) for positions in self.positions)
