"""Batches of pictures of one orientation: wide ones with wide ones, tall ones with tall ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zoo import images
from zoo.data import Dataset, Record
from zoo.errors import ImageError


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
        whole, rest = divmod(len(self.tall), self.batch_size)
        return max(1, whole + (rest >= self.smallest))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return an epoch's batches, in random order.

        Args:
            generator: decides which samples come together, and when.
        """
        order: list[int] = torch.randperm(len(self.tall), generator=generator).tolist()
        groups = [[place for place in order if self.tall[place] is tall] for tall in (False, True)]
        whole = [len(group) - len(group) % self.batch_size for group in groups]
        rest = sorted((place for group, end in zip(groups, whole, strict=True) for place in group[end:]), key=order.index)
        chunks = [_cut(group[:end], self.batch_size) for group, end in zip(groups, whole, strict=True)]
        together = [*chunks[0], *chunks[1], *_cut(rest, self.batch_size)]
        if len(together) > len(self):
            together[-2:] = [together[-2] + together[-1]]
        # a shorter or longer batch stays the last one: the others are the same number of steps in every epoch
        last = together.pop() if len(together[-1]) != self.batch_size else None
        shuffled = [together[place] for place in torch.randperm(len(together), generator=generator).tolist()]
        return shuffled if last is None else [*shuffled, last]


def _cut(places: Sequence[int], size: int) -> list[list[int]]:
    return [list(places[start : start + size]) for start in range(0, len(places), size)]


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
