"""Sample training batches: shuffled, balanced by class, or specific to a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Sampler that draws every sample once per epoch, in a new random order in every epoch.

    Attributes:
        samples: number of samples.
        batch_size: batch size of all processes together.
        smallest: minimum batch size that can be trained on. A smaller last batch is appended to the previous one.
    """

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

    Attributes:
        labels: class indices of each sample. They are empty for an image without objects, which is drawn as often as an average image.
        batch_size: batch size of all processes together.
        smallest: minimum batch size that can be trained on. A smaller last batch is appended to the previous one.
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
