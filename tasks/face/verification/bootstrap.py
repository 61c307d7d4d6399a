"""The bootstrap over identities behind the intervals of face scores.

People are drawn, not pictures: pictures of one person are alike, and drawing them one by one would claim more evidence than there is
(Bolle, Ratha & Pankanti 2004, "Error analysis of pattern recognition systems: the subsets bootstrap"). A genuine pair counts as often
as its person was drawn, an impostor pair as often as both of its people together. Where nobody knows who is who, pairs are drawn.
Thresholds stay those of the whole data, and so does the gallery.

What is peculiar to one impostor pair, and to neither of its people, is drawn three times as widely as it varies: the product of two
counts has the variance 3. Where such pairs are few this shows (in LFW's protocol a person is in one or two): the replicates of the
AUC, a sum over pairs, are drawn together to the standard error of pairs that share people (`standard_error`). Those of the accuracy
are not: what they have too much is about what the choice of the thresholds would add. Those of EER and TAR@FAR stay too wide, never
too narrow. `tests/unit/test_interval_coverage.py` has the measured coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.evaluation.intervals import Counts, draws
from zoo.tasks.face.verification.identification import RANKS, Identified
from zoo.tasks.face.verification.protocol import Floats, Ints
from zoo.tasks.face.verification.roc import FALSE_ACCEPT_RATES, OrderedPairs, Roc, read_off

MAX_PAIRS = 200_000  # behind the ROC of a draw; more are thinned out evenly
_SEED = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs with a value each.

    Attributes:
        values: [P]: a similarity, or whether it was decided rightly.
        genuine: [P] whether each shows one person.
        first: [P] the unit of the one picture: its person, or the pair itself where people aren't known.
        second: [P] of the other.
    """

    values: NDArray[np.generic]
    genuine: NDArray[np.bool_]
    first: Ints
    second: Ints

    def weights(self, counts: Counts) -> Floats:
        """Return how often each pair counts [P] where its units were drawn so often [U]."""
        once = counts[self.first].astype(np.float64)
        return np.asarray(once * np.where(self.first == self.second, 1, counts[self.second]))

    def thinned(self, limit: int) -> Pairs:
        """Return at most so many of them, drawn evenly."""
        if len(self.values) <= limit:
            return self
        kept = np.sort(np.random.default_rng(_SEED).permutation(len(self.values))[:limit])
        return Pairs(self.values[kept], self.genuine[kept], self.first[kept], self.second[kept])


def face_replicates(
    units: int, replicates: int, compared: Pairs, decided: Pairs | None, accuracy: float | None, identified: Identified | None
) -> dict[str, Floats]:
    """Score every draw.

    Args:
        units: people, or pairs where people aren't known.
        replicates: draws.
        compared: the pairs behind the ROC with their similarities.
        decided: the pairs of the folds, with whether each was decided rightly; None where there are no folds.
        accuracy: the score of these folds: the replicates are centred on it.
        identified: the probes behind rank-k; None where people aren't known.

    Returns:
        Score name to [R], NaN where a draw doesn't support it.
    """
    compared = compared.thinned(MAX_PAIRS)
    both = bool(compared.genuine.any() and not compared.genuine.all())
    ordered = OrderedPairs.of(np.asarray(compared.values, np.float64), compared.genuine) if both else None
    rows = [
        {
            **_curve(compared, ordered, counts),
            **_accuracy(decided, accuracy, counts),
            **_ranks(identified, counts),
        }
        for chunk in draws(units, replicates)
        for counts in chunk
    ]
    names = rows[0] if rows else {}
    drawn = {name: np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64) for name in names}
    if "auc" in drawn:
        drawn["auc"] = _narrowed(drawn["auc"], compared, _influence_on_auc(compared))
    return drawn


def standard_error(influence: Floats, pairs: Pairs) -> float:
    """Return the standard error of a sum over pairs, those that share a person being dependent.

    Fafchamps & Gubler 2007, "The formation of risk sharing networks", equation 2.5: products of the influences of all two pairs that
    share somebody. Summed up person by person, each impostor pair meets itself twice, and once is taken away.

    Args:
        influence: [P], what each pair adds to the deviation from the expected value.
        pairs: whose they are.
    """
    alone = pairs.first == pairs.second
    units = int(max(pairs.first.max(), pairs.second.max())) + 1
    sums = np.bincount(pairs.first, influence, units) + np.bincount(pairs.second, np.where(alone, 0.0, influence), units)
    variance = (sums**2).sum() - (influence[~alone] ** 2).sum()
    return float(np.sqrt(max(variance, (influence**2).sum())))  # no less than if all pairs were independent


def _narrowed(replicates: Floats, pairs: Pairs, influence: Floats) -> Floats:
    if not np.isfinite(replicates).any():
        return replicates
    spread, wanted = float(np.nanstd(replicates)), standard_error(influence, pairs)
    if spread <= wanted:
        return replicates
    mean = np.nanmean(replicates)
    return np.asarray(mean + (replicates - mean) * (wanted / spread))


def _influence_on_auc(pairs: Pairs) -> Floats:
    """Return what each pair adds to the AUC, which is a mean over genuine and impostor pairs (Hoeffding's projection)."""
    similar, genuine = np.asarray(pairs.values, np.float64), pairs.genuine
    influence = np.empty(len(similar))
    for kind, sign in ((genuine, 1), (~genuine, -1)):
        others = np.sort(sign * similar[~kind])
        # the part of the other kind that stands on the right side of the pair, equal scores counting half
        beaten = (np.searchsorted(others, sign * similar[kind]) + np.searchsorted(others, sign * similar[kind], side="right")) / 2
        influence[kind] = (beaten - beaten.mean()) / len(others) / kind.sum()
    return influence


def _curve(pairs: Pairs, ordered: OrderedPairs | None, counts: Counts) -> dict[str, float | None]:
    if ordered is None:
        return {}
    roc = Roc.weighted(ordered, pairs.weights(counts)[ordered.order])
    return {"auc": None, "eer": None, **dict.fromkeys(FALSE_ACCEPT_RATES)} if roc is None else read_off(roc)


def _accuracy(decided: Pairs | None, accuracy: float | None, counts: Counts) -> dict[str, float | None]:
    if decided is None or accuracy is None:
        return {}
    weights = decided.weights(counts)
    drawn, whole = 0.0, 0.0
    for kind in (decided.genuine, ~decided.genuine):
        right, weight = np.asarray(decided.values[kind], np.float64), weights[kind]
        if not len(right):
            continue
        if not weight.sum() > 0:
            return {"accuracy": None}
        share = len(right) / len(decided.genuine)
        drawn += share * float((weight * right).sum() / weight.sum())
        whole += share * float(right.mean())
    # folds of unequal size make the mean over folds differ a little from the mean over pairs
    return {"accuracy": drawn + accuracy - whole}


def _ranks(identified: Identified | None, counts: Counts) -> dict[str, float | None]:
    if identified is None:
        return {}
    weights = counts[identified.people].astype(np.float64)
    return {f"rank{rank}": identified.rate(rank, weights) for rank in RANKS}
