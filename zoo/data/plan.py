"""Which samples make which training batch, and how often an optimiser step is taken."""

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
    """The steps of a run, counted in batches of one process.

    Attributes:
        batches_per_epoch: the last step of an epoch may have fewer batches than the others.
        accumulation: batches per step.
    """

    batches_per_epoch: int
    accumulation: int

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulation)

    def done(self, batches: int) -> int:
        """Return the steps that so many batches of a run make, one that has begun included."""
        epochs, rest = divmod(batches, self.batches_per_epoch)
        return epochs * self.per_epoch + math.ceil(rest / self.accumulation)

    def complete(self, batches: int) -> bool:
        """Tell whether the last of so many batches completes a step."""
        return batches % self.batches_per_epoch % self.accumulation == 0


Index = tuple[int, int, int]  # epoch, number of the draw in it, position in the manifest


@dataclass(frozen=True)
class TrainingPlan:
    """Which samples make which batch of a run: fixed by the seed, drawn anew every epoch, shared out over processes.

    Attributes:
        sampling: makes the batches of all processes together.
        epochs: how many.
        seed: of the draws and of the augmentation.
        rank: this process, of
        processes: so many.
    """

    sampling: Sampling
    epochs: int
    seed: int
    rank: int = 0
    processes: int = 1

    @cached_property
    def batches_per_epoch(self) -> int:
        """Batches of one process in an epoch."""
        return len(self.sampling)

    def shares_from(self, start: int) -> Iterator[Share]:
        """Yield this process's batches of all epochs, from batch number `start` on.

        Of each batch it is a stretch, as long as the other processes' or one longer.
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
    """What of a batch one process has.

    Attributes:
        epoch: counted from 0.
        draw: of the first one, its number in the epoch.
        positions: in the data.
    """

    epoch: int
    draw: int
    positions: list[int]

    def indices(self) -> list[Index]:
        """Return each sample with all that its randomness depends on."""
        return [(self.epoch, self.draw + place, position) for place, position in enumerate(self.positions)]


@dataclass(frozen=True)
class _From:
    plan: TrainingPlan
    start: int

    def __len__(self) -> int:
        return self.plan.epochs * self.plan.batches_per_epoch - self.start

    def __iter__(self) -> Iterator[list[Index]]:
        return (share.indices() for share in self.plan.shares_from(self.start))
