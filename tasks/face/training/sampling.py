"""Sampler of batches of P identities × K images, for losses that compare images within a batch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from zoo.errors import InputError

_LOG = logging.getLogger("zoo")
TRIPLET_PICTURES = 4  # default number of images per identity for the triplet loss (Hermans et al. 2017, section 4)


@dataclass(frozen=True)
class IdentityBatches:
    """Sampler of batches with P different identities and K images of each.

    An epoch has the smallest number of batches that draws at least as many images as the dataset holds. Every identity is drawn equally
    often, however many images it has. Within an epoch, no identity is drawn again before all others have been drawn, and no image of an
    identity is drawn again before its other images have been drawn. The order is shuffled every epoch, so every image is used eventually.
    An identity with fewer than K images repeats them with different augmentations.

    The images of an identity are adjacent in a batch. With several processes, each receives an equal contiguous section of the batch,
    which contains only complete identities if the number of processes divides `people`.

    pytorch-metric-learning's `MPerClassSampler` draws from NumPy's global generator, so a resumed run could not reproduce an epoch. It may
    also leave an image unused indefinitely.
    """

    identities: Sequence[int]  # identity of each sample
    people: int  # number P of identities per batch, at most the number of identities in the dataset
    pictures: int  # number K of images of each identity per batch

    @cached_property
    def _positions(self) -> list[list[int]]:
        """Indices of each identity's images in the dataset."""
        positions: dict[int, list[int]] = {}
        for position, identity in enumerate(self.identities):
            positions.setdefault(identity, []).append(position)
        return [positions[identity] for identity in sorted(positions)]

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.identities) // (self.people * self.pictures))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return the batches of one epoch as lists of sample indices."""
        everyone = list(range(len(self._positions)))
        waiting: list[int] = []
        unseen: dict[int, list[int]] = {}
        batches = []
        for _ in range(len(self)):
            batch: list[int] = []
            for identity in _take(waiting, everyone, self.people, generator):
                batch += _take(unseen.setdefault(identity, []), self._positions[identity], self.pictures, generator)
            batches.append(batch)
        return batches


def _take(queue: list[int], everything: Sequence[int], count: int, generator: torch.Generator) -> list[int]:
    """Remove `count` items from the front of a queue and return them. A queue that is too short is refilled with all items, shuffled.

    Items that are still in the queue come last in the refill, so no item is returned twice by one call unless there are fewer than `count`.
    """
    while len(queue) < count:
        order = [everything[place] for place in torch.randperm(len(everything), generator=generator).tolist()]
        left = set(queue)
        queue += [item for item in order if item not in left] + [item for item in order if item in left]
    taken = queue[:count]
    del queue[:count]
    return taken


def identity_batches(identities: Sequence[int], pictures: int, batch_size: int, processes: int) -> IdentityBatches:
    """Return a sampler with as many identities per batch as the batch size and the dataset allow.

    `batch_size` is the maximum number of images per process. The processes that share a batch receive equal numbers of identities.
    """
    counts = Counter(identities)
    if batch_size < 2 * pictures:
        raise InputError(
            f"batch_size is {batch_size}, which is too small for 2 identities × {pictures} images; "
            f"use {2 * pictures} or more, or a smaller pictures_per_identity"
        )
    if max(counts.values()) < 2:
        raise InputError("no identity in the dataset has two images; batches with several images per identity need at least one")
    if len(counts) < 2 * processes:
        raise InputError(f"the dataset has {len(counts)} identities; {processes} processes need at least {2 * processes}, two each")
    people = min(batch_size // pictures, len(counts) // processes) * processes
    if people < batch_size // pictures * processes:
        total = people * pictures
        _LOG.warning("batches hold %d images (%d identities × %d): there are only %d identities", total, people, pictures, len(counts))
    return IdentityBatches(identities, people, pictures)
