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
    """Optimiser steps of a run, counted in batches of one process; the last step of an epoch may have fewer batches than the others."""

    batches_per_epoch: int
    accumulation: int

    @property
    def per_epoch(self) -> int:
        """Number of steps per epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulation)

    def done(self, batches: int) -> int:
        """Return the number of steps after a number of batches, including a step that has only begun."""
        epochs, rest = divmod(batches, self.batches_per_epoch)
        return epochs * self.per_epoch + math.ceil(rest / self.accumulation)

    def complete(self, batches: int) -> bool:
        """Return whether the last of a number of batches completes a step."""
        return batches % self.batches_per_epoch % self.accumulation == 0


Index = tuple[int, int, int]  # epoch, number of the draw within the epoch, position in the dataset


@dataclass(frozen=True)
class TrainingPlan:
    """Samples of each batch of a run: determined by the seed, drawn again in every epoch, distributed over processes.

    Attributes:
        sampling: sampler of the batches of all processes together.
        seed: seed of the draws and of the augmentation.
        rank: index of this process.
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
        """Yield this process's shares of the batches of all epochs, starting with batch number `start`.

        A share is a contiguous part of a batch; the shares of the processes differ by at most one sample.
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
        """Return this process's batches of an epoch."""
        start = epoch * self.batches_per_epoch
        return [share.indices() for share in islice(self.shares_from(start), self.batches_per_epoch)]


@dataclass(frozen=True, slots=True)
class Share:
    """One process's share of a batch: positions of samples in the dataset, and the number of the first sample's draw within the epoch."""

    epoch: int
    draw: int
    positions: list[int]

    def indices(self) -> list[Index]:
        """Return the index of each sample, which contains everything that its augmentation depends on."""
        return [(self.epoch, self.draw + place, position) for place, position in enumerate(self.positions)]


@dataclass(frozen=True)
class _From:
    plan: TrainingPlan
    start: int

    def __len__(self) -> int:
        return self.plan.epochs * self.plan.batches_per_epoch - self.start

    def __iter__(self) -> Iterator[list[Index]]:
        return (share.indices() for share in self.plan.shares_from(self.start))
