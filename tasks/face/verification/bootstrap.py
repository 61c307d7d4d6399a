"""Bootstrap over identities for the confidence intervals of face scores.

People are resampled rather than images. Images of one person are alike, so resampling single images would underestimate the variance
(Bolle, Ratha & Pankanti 2004, "Error analysis of pattern recognition systems: the subsets bootstrap"). A genuine pair is weighted by the
number of times its person was drawn, an impostor pair by the product of these numbers for its two people. If identities are unknown,
pairs are resampled. The thresholds and the gallery are those of the whole dataset in every replicate.

An impostor pair's variance that comes from neither of its people alone is overestimated threefold, because the product of two counts has a
variance of 3. This matters if each person is in few impostor pairs (one or two in LFW's protocol). The replicates of the AUC, which is a
sum over pairs, are therefore shrunk to the standard error of pairs that share people (`standard_error`). The replicates of the accuracy are
not shrunk: their excess variance is about what choosing the thresholds would add. The intervals of EER and TAR@FAR are too wide, never too
narrow. The coverage is measured in `tests/unit/evaluation/test_interval_coverage.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.evaluation.intervals import Counts, draws
from zoo.tasks.face.verification.identification import RANKS, Identified
from zoo.tasks.face.verification.protocol import Floats, Ints
from zoo.tasks.face.verification.roc import OrderedPairs, Roc, read_off

MAX_PAIRS = 200_000  # maximum number of pairs in the ROC of a replicate; larger sets are subsampled uniformly
_SEED = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of images with one value per pair."""

    values: NDArray[Any]  # [P] similarity of each pair, or whether it was classified correctly
    genuine: NDArray[np.bool_]  # [P] whether each pair shows one person
    first: Ints  # [P] bootstrap unit of the first image: its person, or the pair if identities are unknown
    second: Ints  # [P] bootstrap unit of the second image

    def weights(self, counts: Counts) -> Floats:
        """Return the weight of each pair [P] from the number of times that each unit was drawn [U]."""
        once = counts[self.first].astype(np.float64)
        return np.asarray(once * np.where(self.first == self.second, 1, counts[self.second]))

    def thinned(self) -> Pairs:
        """Return at most `MAX_PAIRS` pairs, drawn uniformly."""
        if len(self.values) <= MAX_PAIRS:
            return self
        kept = np.sort(np.random.default_rng(_SEED).permutation(len(self.values))[:MAX_PAIRS])
        return Pairs(self.values[kept], self.genuine[kept], self.first[kept], self.second[kept])


def face_replicates(
    units: int, replicates: int, compared: Pairs, decided: Pairs | None, accuracy: float | None, identified: Identified | None
) -> dict[str, Floats]:
    """Return the values of each score in all bootstrap replicates, as a dict from score name to array [R]; NaN where it is undefined.

    Args:
        units: number of people, or of pairs if identities are unknown.
        replicates: number of bootstrap replicates R.
        compared: pairs used for the ROC, with their similarities.
        decided: pairs scored in the folds, and whether each was classified correctly; None if there are no folds.
        accuracy: mean accuracy over the folds; the replicates are centred on it.
        identified: probes used for the rank-k rates; None if identities are unknown.
    """
    compared = compared.thinned()
    both = bool(compared.genuine.any() and not compared.genuine.all())
    ordered = OrderedPairs.of(compared.values, compared.genuine) if both else None
    rows = []
    for counts in chain.from_iterable(draws(units, replicates)):
        row: dict[str, float | None] = {} if ordered is None else read_off(Roc.weighted(ordered, compared.weights(counts)[ordered.order]))
        if decided is not None and accuracy is not None:
            row["accuracy"] = _accuracy(decided, accuracy, counts)
        if identified is not None:
            weights = counts[identified.people].astype(np.float64)
            row |= {f"rank{rank}": identified.rate(rank, weights) for rank in RANKS}
        rows.append(row)
    names = rows[0] if rows else {}
    drawn = {name: np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64) for name in names}
    if "auc" in drawn:
        drawn["auc"] = _narrowed(drawn["auc"], standard_error(_influence_on_auc(compared), compared))
    return drawn


def standard_error(influence: Floats, pairs: Pairs) -> float:
    """Return the standard error of a sum over pairs, allowing for the dependence between pairs that share a person.

    Fafchamps & Gubler 2007, "The formation of risk sharing networks", equation 2.5. `influence` [P] is the contribution of each pair to the
    deviation of the sum from its expected value. The variance is the sum of the products of the influences of any two pairs that share a
    person. The sum over people counts the square of each impostor pair's influence twice, so it is subtracted once.
    """
    alone = pairs.first == pairs.second
    units = int(max(pairs.first.max(), pairs.second.max())) + 1
    sums = np.bincount(pairs.first, influence, units) + np.bincount(pairs.second, np.where(alone, 0.0, influence), units)
    variance = (sums**2).sum() - (influence[~alone] ** 2).sum()
    return float(np.sqrt(max(variance, (influence**2).sum())))  # at least the variance of independent pairs


def _narrowed(replicates: Floats, wanted: float) -> Floats:
    """Shrink replicates to the standard deviation `wanted`, unless theirs is smaller."""
    if not np.isfinite(replicates).any() or (spread := float(np.nanstd(replicates))) <= wanted:
        return replicates
    mean = np.nanmean(replicates)
    return np.asarray(mean + (replicates - mean) * (wanted / spread))


def _influence_on_auc(pairs: Pairs) -> Floats:
    """Return the influence of each pair on the AUC [P], from Hoeffding's projection."""
    similar, genuine = pairs.values, pairs.genuine
    influence = np.empty(len(similar))
    for kind, sign in ((genuine, 1), (~genuine, -1)):
        others = np.sort(sign * similar[~kind])
        # number of pairs of the other kind that are ranked correctly relative to each pair; a tie counts one half
        beaten = (np.searchsorted(others, sign * similar[kind]) + np.searchsorted(others, sign * similar[kind], side="right")) / 2
        influence[kind] = (beaten - beaten.mean()) / len(others) / kind.sum()
    return influence


def _accuracy(decided: Pairs, accuracy: float, counts: Counts) -> float | None:
    weights = decided.weights(counts)
    drawn, whole = 0.0, 0.0
    for kind in (decided.genuine, ~decided.genuine):
        right, weight = np.asarray(decided.values[kind], np.float64), weights[kind]
        if not len(right):
            continue
        if not weight.sum() > 0:
            return None
        share = len(right) / len(decided.genuine)
        drawn += share * float((weight * right).sum() / weight.sum())
        whole += share * float(right.mean())
    # centre on the mean over folds, which differs slightly from the mean over pairs if folds have different sizes
    return drawn + accuracy - whole
