"""Batches of P identities × K images, for losses that compare the images of a batch."""

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
    """Sampler of batches with P different identities and K images of each; identities and the images of an identity take turns.

    An epoch has just enough batches to draw as many images as the data holds. A person with few images is drawn as often as one with many.
    Within an epoch, no identity is drawn a second time before all others have been drawn, and likewise for the images of an identity. The
    order is shuffled every epoch, so that every image is used in the long run. An identity with fewer than K images repeats them, each
    time with a different augmentation.

    A batch lists one identity after the other. Processes take equal contiguous shares of a batch, so each gets whole identities if their
    number divides `people`.

    pytorch-metric-learning's `MPerClassSampler` is not used: it draws from NumPy's global generator, so that a resumed run could not
    reproduce an epoch, and an image may remain unused for any length of time.
    """

    identities: Sequence[int]  # identity of each sample
    people: int  # number P of identities in a batch, at most the number of identities in the data
    pictures: int  # number K of images per identity in a batch

    @cached_property
    def _positions(self) -> list[list[int]]:
        """Indices of each identity's images in the data."""
        positions: dict[int, list[int]] = {}
        for position, identity in enumerate(self.identities):
            positions.setdefault(identity, []).append(position)
        return [positions[identity] for identity in sorted(positions)]

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.identities) // (self.people * self.pictures))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return the batches of one epoch, each a list of indices into the data."""
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
    """Take `count` items from the front of a queue, which is refilled with all items in a new random order when it runs out.

    Items still waiting come last in the new order, so that no item is taken twice in one call unless there are fewer than `count`.
    """
    while len(queue) < count:
        order = [everything[place] for place in torch.randperm(len(everything), generator=generator).tolist()]
        left = set(queue)
        queue += [item for item in order if item not in left] + [item for item in order if item in left]
    taken = queue[:count]
    del queue[:count]
    return taken


def identity_batches(identities: Sequence[int], pictures: int, batch_size: int, processes: int) -> IdentityBatches:
    """Return a sampler with as many identities per batch as the batch size and the data allow.

    Each batch has 2 or more images (`pictures`) per identity, and at most `batch_size` images per process; each of the processes that share
    a batch gets the same number of identities.
    """
    counts = Counter(identities)
    if batch_size < 2 * pictures:
        raise InputError(
            f"batch_size is {batch_size}, too small for 2 identities × {pictures} images; "
            f"use {2 * pictures} or more, or a smaller pictures_per_identity"
        )
    if max(counts.values()) < 2:
        raise InputError("no identity in the data has two images; batches with several images per identity need some")
    if len(counts) < 2 * processes:
        raise InputError(f"the data has {len(counts)} identities; {processes} processes need {2 * processes}, two each")
    people = min(batch_size // pictures, len(counts) // processes) * processes
    if people < batch_size // pictures * processes:
        total = people * pictures
        _LOG.warning("batches hold %d images (%d identities × %d): the data has only %d identities", total, people, pictures, len(counts))
    return IdentityBatches(identities, people, pictures)
