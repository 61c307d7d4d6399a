"""Batches of pictures of one orientation: wide ones with wide ones, tall ones with tall ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zoo.data.dataset import Dataset, Record
from zoo.data.sampling import cut
from zoo.errors import ImageError
from zoo.images import decoding as images


@dataclass(frozen=True)
class AspectGrouped:
    """Shuffled batches of which all but a few hold pictures of one orientation, so that little of a batch is padding.

    Every sample is in one batch of an epoch. What is left over of the two orientations after their whole batches comes together in the
    last ones; a rest below `smallest` joins the batch before it.

    Attributes:
        tall: of each sample, whether its picture is higher than it is wide.
        batch_size: samples in a batch, of all processes together.
        smallest: samples that a batch must have.
    """

    tall: tuple[bool, ...]
    batch_size: int
    smallest: int

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(cut(range(len(self.tall)), self.batch_size, self.smallest))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return an epoch's batches, in random order.

        Args:
            generator: decides which samples come together, and when.
        """
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
    """Tell of each picture whether it is higher than wide: as the annotations say, or an array's shape, or a file's header.

    A picture that can't be read, or is drawn when it is asked for, counts as wide: at worst it brings padding into its batch.
    """
    return tuple(_is_tall(record) for record in dataset.records)


def _is_tall(record: Record) -> bool:
    size_hw = record.size_hw
    if isinstance(record.source, np.ndarray):
        size_hw = record.source.shape[0], record.source.shape[1]
    elif isinstance(record.source, Path) and size_hw is None:
        try:
            size_hw = images.size(record.source)
        except ImageError:
            return False  # the loader stops at it, or leaves it out and says so
    return size_hw is not None and size_hw[0] > size_hw[1]
