"""Batches grouped by orientation: wide images with wide ones, tall images with tall ones."""

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
    """Shuffled batches, nearly all with images of a single orientation, so that little of a batch is padding.

    Every sample is in one batch of an epoch. The samples that don't fill a batch of their orientation share the last batches; a
    remainder below `smallest` joins the batch before it.
    """

    tall: tuple[bool, ...]  # whether each sample's image is higher than wide
    batch_size: int  # number of samples per batch, over all processes
    smallest: int  # minimum number of samples per batch

    def __len__(self) -> int:
        return len(cut(range(len(self.tall)), self.batch_size, self.smallest))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return the batches of one epoch in random order."""
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
    """Return whether each image is higher than wide, according to the annotations, the array's shape or the file's header.

    An image that can't be read, or that is generated on demand, counts as wide: at worst it adds padding to its batch.
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
            return False  # the loader raises the error, or skips the image and reports it
    return size_hw is not None and size_hw[0] > size_hw[1]
