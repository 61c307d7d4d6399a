"""Which samples make the batches of an epoch: shuffled, balanced, or as a task asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from zoo.errors import InputError


class Sampling(Protocol):
    """A way to make the batches of an epoch, of all processes together."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch, every epoch's."""

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return positions in the data, batch by batch.

        Args:
            generator: decides everything that is random; another one for every epoch.
        """


def cut(order: Sequence[int], batch_size: int, smallest: int) -> list[list[int]]:
    """Cut an order into batches; a last one below `smallest` joins the one before it, so that no sample is left out."""
    whole, rest = divmod(len(order), batch_size)
    count = max(1, whole + (rest >= smallest))
    starts = [number * batch_size for number in range(count)]
    return [list(order[start:end]) for start, end in zip(starts, [*starts[1:], len(order)], strict=True)]


@dataclass(frozen=True)
class Shuffled:
    """Every sample once an epoch, in an order drawn anew.

    Attributes:
        samples: how many there are.
        batch_size: of all processes together.
        smallest: batch that can be trained on; a smaller rest joins the batch before it.
    """

    samples: int
    batch_size: int
    smallest: int

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(cut(range(self.samples), self.batch_size, self.smallest))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return a permutation, cut into batches."""
        return cut(torch.randperm(self.samples, generator=generator).tolist(), self.batch_size, self.smallest)


@dataclass(frozen=True)
class Balanced:
    """As many draws an epoch as there are samples, every class as often as any other.

    Pictures of a rare class come several times an epoch (augmented anew), those of a common one not in every epoch. A sample of
    several classes counts as one of its rarest.

    Attributes:
        labels: the classes of each sample; none for a picture without objects, which is drawn as often as an average one.
        batch_size: of all processes together.
        smallest: batch that can be trained on; a smaller rest joins the batch before it.
    """

    labels: Sequence[Sequence[int]]
    batch_size: int
    smallest: int

    def __post_init__(self) -> None:
        """Refuse data that has no classes to balance.

        Raises:
            InputError: fewer than two classes have samples.
        """
        if len(self._counts) < 2:
            raise InputError(f"balance is 'classes', but the data has samples of {len(self._counts)} class; set balance to 'none'")

    @property
    def _counts(self) -> Counter[int]:
        return Counter(label for labels in self.labels for label in set(labels))

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(cut(range(len(self.labels)), self.batch_size, self.smallest))

    def weights(self) -> torch.Tensor:
        """Return how likely each sample is to be drawn: [samples] float64, of sum 1."""
        counts = self._counts
        rarest = [min(set(labels), key=lambda label: counts[label]) if labels else None for labels in self.labels]
        size = Counter(label for label in rarest if label is not None)
        average = len(self.labels) / len(size)
        weights = torch.tensor([1 / (average if label is None else size[label]) for label in rarest], dtype=torch.float64)
        return weights / weights.sum()

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return draws with replacement, cut into batches."""
        order = torch.multinomial(self.weights(), len(self.labels), replacement=True, generator=generator).tolist()
        return cut(order, self.batch_size, self.smallest)
