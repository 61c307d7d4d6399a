"""Batches of P identities × K pictures, as losses that compare the pictures of a batch need them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from zoo.errors import InputError

_LOG = logging.getLogger("zoo")
TRIPLET_PICTURES = 4  # of an identity in a batch, where triplets are trained on and nothing else is said (Hermans et al. 2017, section 4)


@dataclass(frozen=True)
class IdentityBatches:
    """P different identities a batch, K pictures of each; identities take turns, and so do the pictures of one identity.

    An epoch has as many batches as it takes to draw as many pictures as there are. A rare person comes as often as one with many
    pictures. Within an epoch nobody comes twice before everybody has come, and no picture of an identity before all of its others;
    which are first is drawn anew every epoch, so that in the long run every picture is seen. An identity with fewer than K pictures
    repeats them, each time augmented in another way.

    A batch lists one identity after the other: of several processes, which take equal stretches of it, each has whole identities
    where their number goes into `people`.

    pytorch-metric-learning's `MPerClassSampler` is not used: it draws from NumPy's global generator, so that an epoch could not be
    drawn again for a resumed run, and a picture may stay unseen for any time.

    Attributes:
        identities: of each sample.
        people: identities a batch, at most as many as there are.
        pictures: of each of them.
    """

    identities: Sequence[int]
    people: int
    pictures: int

    @cached_property
    def _positions(self) -> list[list[int]]:
        """Where each identity's pictures stand in the data."""
        positions: dict[int, list[int]] = {}
        for position, identity in enumerate(self.identities):
            positions.setdefault(identity, []).append(position)
        return [positions[identity] for identity in sorted(positions)]

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.identities) // (self.people * self.pictures))

    def batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return positions in the data, batch by batch.

        Args:
            generator: decides whose turn it is, and which picture's.
        """
        everybody = list(range(len(self._positions)))
        waiting: list[int] = []
        unseen: dict[int, list[int]] = {}
        batches = []
        for _ in range(len(self)):
            batch: list[int] = []
            for identity in _take(waiting, everybody, self.people, generator):
                batch += _take(unseen.setdefault(identity, []), self._positions[identity], self.pictures, generator)
            batches.append(batch)
        return batches


def _take(queue: list[int], everything: Sequence[int], count: int, generator: torch.Generator) -> list[int]:
    """Take from the front of a queue, which is filled up with everything in a new order when it runs out.

    Those that still wait come last in the new order: nothing is taken twice at once, unless there are fewer than `count`.
    """
    while len(queue) < count:
        order = [everything[place] for place in torch.randperm(len(everything), generator=generator).tolist()]
        left = set(queue)
        queue += [item for item in order if item not in left] + [item for item in order if item in left]
    taken = queue[:count]
    del queue[:count]
    return taken


def identity_batches(identities: Sequence[int], pictures: int, batch_size: int, processes: int) -> IdentityBatches:
    """Return batches of as many identities as there is room for, or as there are.

    Args:
        identities: of each sample.
        pictures: of each identity in a batch, 2 or more.
        batch_size: pictures a batch of one process has room for.
        processes: how many share a batch, each taking as many identities as any other.

    Raises:
        InputError: no room for two identities in each process, fewer identities than that, or nobody with two pictures.
    """
    counts = Counter(identities)
    if batch_size < 2 * pictures:
        raise InputError(
            f"batch_size is {batch_size}, which has no room for 2 identities × {pictures} pictures; "
            f"give {2 * pictures} or more, or a smaller pictures_per_identity"
        )
    if max(counts.values()) < 2:
        raise InputError("no identity in the data has two pictures; batches of several pictures of one identity need some that have")
    if len(counts) < 2 * processes:
        raise InputError(f"the data shows {len(counts)} identities; {processes} processes need {2 * processes}, two each")
    people = min(batch_size // pictures, len(counts) // processes) * processes
    if people < batch_size // pictures * processes:
        total = people * pictures
        _LOG.warning("batches are of %d pictures (%d identities × %d): the data shows %d identities", total, people, pictures, len(counts))
    return IdentityBatches(identities, people, pictures)
