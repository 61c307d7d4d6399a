"""The bootstrap over identities behind the intervals of face scores.

People are drawn, not pictures: pictures of one person are alike, and drawing them one by one would claim more evidence than there is
(Bolle, Ratha & Pankanti 2004, "Error analysis of pattern recognition systems: the subsets bootstrap"). A genuine pair counts as often
as its person was drawn, an impostor pair as often as both of its people together. Where nobody knows who is who, pairs are drawn.
Thresholds stay those of the whole data, and so does the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.identification import RANKS, Identified
from zoo.tasks.face.roc import FALSE_ACCEPT_RATES, OrderedPairs, Roc, read_off
from zoo.tasks.face.verification import Floats, Ints
from zoo.uncertainty import Counts, draws

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
    return {name: np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64) for name in names}


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
