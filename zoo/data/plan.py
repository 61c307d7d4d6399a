"""Assignment of samples to training batches, and of batches to optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch

from zoo.data.sampling import Sampling


@dataclass(frozen=True)
class Steps:
    """Relation between batches and optimiser steps in a run.

    The last step of an epoch may have fewer batches than the others.

    Attributes:
        batches_per_epoch: number of batches per epoch and process.
        accumulation: number of batches per optimiser step.
    """

    batches_per_epoch: int
    accumulation: int

    @property
    def per_epoch(self) -> int:
        """Number of steps per epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulation)

    def done(self, batches: int) -> int:
        """Return the number of steps that have begun after the given number of batches of the run."""
        epochs, rest = divmod(batches, self.batches_per_epoch)
        return epochs * self.per_epoch + math.ceil(rest / self.accumulation)

    def complete(self, batches: int) -> bool:
        """Return whether a step is complete after the given number of batches of the run."""
        return batches % self.batches_per_epoch % self.accumulation == 0


Index = tuple[int, int, int]  # epoch, number of the draw within the epoch, position in the dataset


@dataclass(frozen=True)
class TrainingPlan:
    """Assignment of samples to the batches of a run. It is determined by the seed, differs between epochs, and covers all processes.

    Attributes:
        sampling: sampler of the batches of all processes together.
        epochs: number of epochs.
        seed: random seed for sampling and augmentation.
        rank: index of this process.
        processes: number of processes.
    """

    sampling: Sampling
    epochs: int
    seed: int
    rank: int = 0
    processes: int = 1

    @cached_property
    def batches_per_epoch(self) -> int:
        """Number of batches per epoch and process."""
        return len(self.sampling)

    def shares_from(self, start: int) -> Iterator[Share]:
        """Yield this process's share of every batch of the run, starting with batch number `start`, counted over all epochs from 0.

        A share is a contiguous slice of a batch. The shares of different processes differ in length by at most one sample.
        """
        first, skip = divmod(start, self.batches_per_epoch)
        for epoch in range(first, self.epochs):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            draw = 0
            for number, batch in enumerate(self.sampling.batches(generator)):
                begin, end = (len(batch) * rank // self.processes for rank in (self.rank, self.rank + 1))
                if epoch > first or number >= skip:
                    yield Share(epoch, draw + begin, batch[begin:end])
                draw += len(batch)

    def epoch(self, epoch: int) -> list[list[Index]]:
        """Return the batches that this process trains on in an epoch."""
        start = epoch * self.batches_per_epoch
        return [share.indices() for share in islice(self.shares_from(start), self.batches_per_epoch)]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a batch that one process trains on.

    Attributes:
        epoch: index of the epoch.
        draw: number of the first sample's draw within the epoch.
        positions: positions of the samples in the dataset.
    """

    epoch: int
    draw: int
    positions: list[int]

    def indices(self) -> list[Index]:
        """Return the index of each sample: epoch, number of the draw and position. Augmentation depends only on these and the seed."""
        return [(self.epoch, self.draw + place, position) for place, position in enumerate(self.positions)]


@dataclass(frozen=True)
class _From:
    plan: TrainingPlan
    start: int

    def __len__(self) -> int:
        return self.plan.epochs * self.plan.batches_per_epoch - self.start

    def __iter__(self) -> Iterator[list[Index]]:
        return (share.indices() for share in self.plan.shares_from(self.start))
