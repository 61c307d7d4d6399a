"""Which samples the training batches of a run contain: samplers, their division among epochs and processes, and optimiser steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

import torch

from zoo.errors import InputError


class Sampling(Protocol):
    """Interface of samplers, which draw the batches of an epoch for all processes together."""

    def __len__(self) -> int:
        """Return the number of batches per epoch, which is the same for every epoch."""

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return the batches of one epoch as lists of positions in the dataset.

        Args:
            generator: random generator for this epoch.
        """


def cut(order: Sequence[int], batch_size: int, smallest: int) -> list[list[int]]:
    """Divide a sequence of positions into batches.

    If the last batch would have fewer than `smallest` samples, they are appended to the previous batch, so that no sample is lost.
    """
    whole, rest = divmod(len(order), batch_size)
    count = max(1, whole + (rest >= smallest))
    starts = [number * batch_size for number in range(count)]
    return [list(order[start:end]) for start, end in zip(starts, [*starts[1:], len(order)], strict=True)]


@dataclass(frozen=True)
class Shuffled:
    """Sampler that draws every sample once per epoch, in a new random order in every epoch; for `smallest`, see `cut`."""

    samples: int
    batch_size: int
    smallest: int

    def __len__(self) -> int:
        return len(cut(range(self.samples), self.batch_size, self.smallest))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return a random permutation of all samples, divided into batches."""
        return cut(torch.randperm(self.samples, generator=generator).tolist(), self.batch_size, self.smallest)


@dataclass(frozen=True)
class Balanced:
    """Sampler that draws all classes equally often. An epoch has as many draws as the dataset has samples.

    A sample of a rare class is drawn several times per epoch, with different augmentations. A sample of a frequent class isn't drawn in
    every epoch. A sample with several classes counts as one of the rarest of them.

    An image without objects, whose labels are empty, is drawn as often as an average image.
    """

    labels: Sequence[Sequence[int]]
    batch_size: int
    smallest: int

    def __post_init__(self) -> None:
        """Raise an `InputError` if fewer than two classes have samples."""
        if len(self._counts) < 2:
            raise InputError(f"balance is 'classes', but the data has samples of {len(self._counts)} class; set balance to 'none'")

    @property
    def _counts(self) -> Counter[int]:
        return Counter(label for labels in self.labels for label in set(labels))

    def __len__(self) -> int:
        return len(cut(range(len(self.labels)), self.batch_size, self.smallest))

    def weights(self) -> torch.Tensor:
        """Return the probability of each sample to be drawn: [samples] float64 tensor, with a sum of 1."""
        counts = self._counts
        rarest = [min(set(labels), key=lambda label: counts[label]) if labels else None for labels in self.labels]
        size = Counter(label for label in rarest if label is not None)
        average = len(self.labels) / len(size)
        weights = torch.tensor([1 / (average if label is None else size[label]) for label in rarest], dtype=torch.float64)
        return weights / weights.sum()

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return random samples, drawn with replacement and divided into batches."""
        order = torch.multinomial(self.weights(), len(self.labels), replacement=True, generator=generator).tolist()
        return cut(order, self.batch_size, self.smallest)


@dataclass(frozen=True)
class Steps:
    """Relation between batches and optimiser steps in a run.

    The last step of an epoch may have fewer batches than `accumulation`, the number of batches per step.
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
    """Assignment of samples to the batches of a run and, for each batch, to its processes, of which this one has the index `rank`.

    It is determined by the seed, which also seeds augmentation, and differs between epochs.
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
    """The share of a batch that one process trains on."""

    epoch: int
    draw: int  # number of the first sample's draw within the epoch
    positions: list[int]  # in the dataset
    source: int = 0  # index of the dataset, in a run over several

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
