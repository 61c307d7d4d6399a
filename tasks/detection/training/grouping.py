"""Batches grouped by orientation, so that wide and tall images are in separate batches where possible."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zoo.data.dataset import Dataset, Record
from zoo.data.sampling import cut
from zoo.errors import ImageError
from zoo.images import decoding


@dataclass(frozen=True)
class AspectGrouped:
    """Shuffled batches, nearly all with images of a single orientation, which reduces padding.

    Every sample is in exactly one batch per epoch. The samples that don't fill a whole batch of their orientation are combined in mixed
    batches. If the last of these has fewer than `smallest` samples, it is merged with the previous batch.
    """

    tall: tuple[bool, ...]  # whether each sample's image is taller than it is wide
    batch_size: int  # number of samples per batch, over all processes
    smallest: int  # minimum number of samples per batch

    def __len__(self) -> int:
        return len(cut(range(len(self.tall)), self.batch_size, self.smallest))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return the batches of one epoch in random order, as lists of sample indices."""
        order = torch.randperm(len(self.tall), generator=generator).tolist()
        wide, tall = ([place for place in order if self.tall[place] is high] for high in (False, True))
        whole: list[int] = []
        rest: list[int] = []
        for group in (wide, tall):
            end = len(group) - len(group) % self.batch_size
            whole += group[:end]
            rest += group[end:]
        batches = cut([*whole, *rest], self.batch_size, self.smallest)
        places = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[place] for place in places]


def are_tall(dataset: Dataset) -> tuple[bool, ...]:
    """Return whether each image is taller than it is wide, according to the annotations, the array's shape or the file's header.

    Images that can't be read, or that are generated on demand, count as wide. If that is wrong, their batches only need more padding.
    """
    return tuple(_is_tall(record) for record in dataset.records)


def _is_tall(record: Record) -> bool:
    size_hw = record.size_hw
    if isinstance(record.source, np.ndarray):
        size_hw = record.source.shape[0], record.source.shape[1]
    elif isinstance(record.source, Path) and size_hw is None:
        try:
            size_hw = decoding.size(record.source)
        except ImageError:
            return False  # the loader raises this error later, or skips the image and reports it
    return size_hw is not None and size_hw[0] > size_hw[1]
