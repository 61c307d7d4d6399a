"""Which pairs of faces are attacked: as many genuine as impostor ones, each with the folds that must not choose its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.tasks.face.verification import protocol as verification
from zoo.tasks.face.verification.pairs import PairedDataset
from zoo.tasks.face.verification.protocol import Floats, Ints

FOLDS = 10  # as LFW has


@dataclass(frozen=True)
class AttackPairs:
    """Pairs of a probe, which is attacked, and a picture of the gallery, which is not.

    Attributes:
        places: [P, 2] positions in the manifest: the probe's, and the gallery's.
        same: [P] whether they show one person.
        folds: [P, 2] the folds of their two people; of a pair that the data brings along, twice that pair's.
    """

    places: Ints
    same: NDArray[np.bool_]
    folds: Ints

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.same)

    def only(self, kept: NDArray[np.bool_] | Ints) -> AttackPairs:
        """Return a part of them."""
        return AttackPairs(self.places[kept], self.same[kept], self.folds[kept])

    def thresholds(self, similar: Floats) -> Floats | None:
        """Return for each pair the best threshold [P] of the pairs that touch neither of its folds.

        So nobody in a pair was seen when its threshold was chosen. None where no such pairs of both kinds are left.

        Args:
            similar: [P], how alike the pairs are.
        """
        chosen = np.empty(len(self))
        for two in np.unique(np.sort(self.folds, axis=1), axis=0):
            own = (np.sort(self.folds, axis=1) == two).all(1)
            rest = ~np.isin(self.folds, two).any(1)
            genuine, impostor = similar[rest & self.same], similar[rest & ~self.same]
            if not len(genuine) or not len(impostor):
                return None
            chosen[own] = verification.best_threshold(genuine, impostor)
        return chosen


def choose_pairs(dataset: Dataset, limit: int, seed: int) -> AttackPairs:
    """Choose pairs: of the data's own where it brings some, else evenly among all pairs of its people.

    Args:
        dataset: pictures with people as targets, or with pairs.
        limit: of each kind, at most; there are as many of the one as of the other.
        seed: decides which, and which of two pictures is the probe where the data doesn't say: in its own pairs it is the first.

    Raises:
        InputError: there is no pair of one kind, or a picture without an identity.
    """
    rng = np.random.default_rng(seed)
    pairs = _own(dataset) if isinstance(dataset, PairedDataset) else _drawn(dataset, limit, rng)
    genuine, impostor = np.flatnonzero(pairs.same), np.flatnonzero(~pairs.same)
    count = min(limit, len(genuine), len(impostor))
    if count == 0:
        raise InputError(
            f"attack: data {dataset.name!r} has {len(genuine)} genuine and {len(impostor)} impostor pairs; "
            "expected some of both: two people, one of them with two pictures"
        )
    kept = np.concatenate([rng.permutation(kind)[:count] for kind in (genuine, impostor)])
    return pairs.only(np.sort(kept))


def _own(dataset: PairedDataset) -> AttackPairs:
    place = {key: index for index, key in enumerate(dataset.keys)}
    # a picture that was left out when the data was opened can't be attacked; the protocol counts its pairs as missing
    pairs = [pair for pair in dataset.pairs if pair.first in place and pair.second in place]
    places = np.array([(place[pair.first], place[pair.second]) for pair in pairs], np.int64).reshape(-1, 2)
    folds = np.array([pair.fold for pair in pairs], np.int64)
    return AttackPairs(places, np.array([pair.same for pair in pairs], np.bool_), np.stack([folds, folds], axis=1))


def _drawn(dataset: Dataset, limit: int, rng: np.random.Generator) -> AttackPairs:
    for record in dataset.records:
        if record.target is None:
            raise InputError(f"{record.key}: has no identity as its target; an attack needs to know whose picture each is")
    identities = np.unique([str(record.target) for record in dataset.records], return_inverse=True)[1].astype(np.int64)
    kinds = [verification.sample_pairs(identities, genuine, limit, rng) for genuine in (True, False)]
    places = np.concatenate(kinds)
    turned = rng.random(len(places)) < 0.5  # else the earlier person would always be the attacker
    places[turned] = places[turned, ::-1]
    fold_of = verification.deal_folds(np.bincount(identities), FOLDS, rng)
    return AttackPairs(places, np.arange(len(places)) < len(kinds[0]), fold_of[identities][places])
