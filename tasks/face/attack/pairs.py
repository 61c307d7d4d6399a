"""Choice of the attacked pairs: as many genuine as impostor pairs, each with the folds excluded from choosing its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.pairs import PairedDataset
from zoo.tasks.face.verification.protocol import Floats, Ints

FOLDS = 10  # as in LFW's protocol


@dataclass(frozen=True)
class AttackPairs:
    """Pairs of a probe image, which is attacked, and a gallery image, which is not.

    Attributes:
        places: [P, 2] indices of the probe's and the gallery image's record in the dataset.
        same: [P] whether both images show the same person.
        folds: [P, 2] cross-validation folds of the two people; for pairs defined by the data, the pair's fold twice.
    """

    places: Ints
    same: NDArray[np.bool_]
    folds: Ints

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.same)

    def only(self, kept: NDArray[np.bool_] | Ints) -> AttackPairs:
        """Return the pairs selected by a mask or by indices."""
        return AttackPairs(self.places[kept], self.same[kept], self.folds[kept])

    def thresholds(self, similar: Floats) -> Floats | None:
        """Return a threshold for each pair [P]: the best one over the pairs that share neither of its folds.

        The people of a pair therefore have no influence on its threshold. Returns None if some pair leaves no genuine or no impostor pairs
        in the other folds.

        Args:
            similar: [P] similarity of each pair.
        """
        chosen = np.empty(len(self))
        for two in np.unique(np.sort(self.folds, axis=1), axis=0):
            own = (np.sort(self.folds, axis=1) == two).all(1)
            rest = ~np.isin(self.folds, two).any(1)
            genuine, impostor = similar[rest & self.same], similar[rest & ~self.same]
            if not len(genuine) or not len(impostor):
                return None
            chosen[own] = protocol.best_threshold(genuine, impostor)
        return chosen


def choose_pairs(dataset: Dataset, limit: int, seed: int) -> AttackPairs:
    """Choose the attacked pairs: among the pairs defined by the data if there are any, otherwise uniformly among all pairs of images.

    Args:
        dataset: images with people as targets, or with pairs.
        limit: maximum number of pairs of each kind; equally many genuine and impostor pairs are chosen.
        seed: seed of the choice of pairs, and of which image is the probe; in pairs defined by the data the probe is the first image.

    Raises:
        InputError: there are no genuine or no impostor pairs, or an image has no identity.
    """
    rng = np.random.default_rng(seed)
    pairs = _own(dataset) if isinstance(dataset, PairedDataset) else _drawn(dataset, limit, rng)
    genuine, impostor = np.flatnonzero(pairs.same), np.flatnonzero(~pairs.same)
    count = min(limit, len(genuine), len(impostor))
    if count == 0:
        raise InputError(
            f"attack: data {dataset.name!r} has {len(genuine)} genuine and {len(impostor)} impostor pairs; "
            "expected at least one of each: two people, one of them with two images"
        )
    kept = np.concatenate([rng.permutation(kind)[:count] for kind in (genuine, impostor)])
    return pairs.only(np.sort(kept))


def _own(dataset: PairedDataset) -> AttackPairs:
    place = {key: index for index, key in enumerate(dataset.keys)}
    # an image skipped when the data was opened can't be attacked; the protocol counts its pairs as missing
    pairs = [pair for pair in dataset.pairs if pair.first in place and pair.second in place]
    places = np.array([(place[pair.first], place[pair.second]) for pair in pairs], np.int64).reshape(-1, 2)
    folds = np.array([pair.fold for pair in pairs], np.int64)
    return AttackPairs(places, np.array([pair.same for pair in pairs], np.bool_), np.stack([folds, folds], axis=1))


def _drawn(dataset: Dataset, limit: int, rng: np.random.Generator) -> AttackPairs:
    for record in dataset.records:
        if record.target is None:
            raise InputError(f"{record.key}: has no identity as its target; an attack needs the identity of every image")
    identities = np.unique([str(record.target) for record in dataset.records], return_inverse=True)[1].astype(np.int64)
    kinds = [protocol.sample_pairs(identities, genuine, limit, rng) for genuine in (True, False)]
    places = np.concatenate(kinds)
    turned = rng.random(len(places)) < 0.5  # otherwise the person with the lower index would always be the attacker
    places[turned] = places[turned, ::-1]
    fold_of = protocol.deal_folds(np.bincount(identities), FOLDS, rng)
    return AttackPairs(places, np.arange(len(places)) < len(kinds[0]), fold_of[identities][places])
