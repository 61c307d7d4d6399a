"""Verification protocol as pure functions: pairs, folds and thresholds.

A genuine pair shows one person, an impostor pair two. Scores are similarities: higher means more similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UnknownNameError

Score = Literal["cosine", "euclidean"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_CHUNK = 8192  # pairs compared at once, which bounds memory use


def comparable(embeddings: NDArray[np.floating], score: Score) -> Floats:
    """Return rows [N, D] in float64, ready for comparison: scaled to length 1 for the cosine, otherwise unscaled.

    A row of zeros has no cosine; `distances.check_embedding` refuses it earlier, where its key is known.
    """
    rows = embeddings.astype(np.float64)
    if score == "euclidean":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assert lengths.all(), "a row of zeros"
    return np.asarray(rows / lengths)


def count_pairs(identities: Ints) -> tuple[int, int]:
    """Return the numbers of genuine and impostor pairs among identities [N]."""
    sizes = np.unique(identities, return_counts=True)[1]
    genuine = int((sizes * (sizes - 1) // 2).sum())
    return genuine, len(identities) * (len(identities) - 1) // 2 - genuine


def sample_pairs(identities: Ints, genuine: bool, limit: int, rng: np.random.Generator) -> Ints:
    """Return distinct pairs of one kind, positions [P, 2] in `identities` [N], drawn uniformly if there are more than `limit`.

    Pairs are numbered without being listed: sorted by identity, each image has a known number of earlier partners, those of its own
    person (genuine) or those of all earlier people (impostor). So drawing a million pairs out of many more costs no more than a million.
    """
    order = np.argsort(identities, kind="stable")
    ordered = identities[order]
    first_of_own = np.searchsorted(ordered, ordered)
    partners = np.arange(len(ordered)) - first_of_own if genuine else first_of_own
    ends = np.cumsum(partners)
    numbers = _draw(int(ends[-1]) if len(ends) else 0, limit, rng)
    second = np.searchsorted(ends, numbers, side="right")
    earliest = first_of_own[second] if genuine else 0
    first = earliest + numbers - (ends - partners)[second]
    return np.stack([order[first], order[second]], axis=1)


def sample_across(identities: Ints, own: Ints, shown: Ints, limit: int, rng: np.random.Generator) -> Ints:
    """Return distinct impostor pairs with at least one person of a fold, drawn uniformly if there are more than `limit`.

    `own` are the positions of the fold's images in `identities` [N], `shown` those of all images that the pairs may contain, including the
    fold's. The pairs are positions [P, 2].
    """
    partners = np.setdiff1d(shown, own)
    within = own[sample_pairs(identities[own], False, limit, rng)]
    inside, across = count_pairs(identities[own])[1], len(own) * len(partners)
    # uniform over both kinds: a pair number below `inside` stands for a pair within the fold
    numbers = _draw(inside + across, limit, rng)
    from_within = int((numbers < inside).sum())
    crossing = numbers[numbers >= inside] - inside
    pairs = np.stack([own[crossing // max(1, len(partners))], partners[crossing % len(partners)]], axis=1) if len(crossing) else within[:0]
    return np.concatenate([within[rng.permutation(len(within))[:from_within]], pairs])


def _draw(total: int, limit: int, rng: np.random.Generator) -> Ints:
    """Return `limit` distinct numbers below `total`, or all of them, ascending; memory use depends on the limit, not the total."""
    if total <= limit:
        return np.arange(total)
    numbers: Ints = np.empty(0, np.int64)
    while len(numbers) < limit:
        numbers = np.unique(np.concatenate([numbers, rng.integers(total, size=limit)]))
    return np.sort(rng.permutation(numbers)[:limit])


def similarities(rows: Floats, pairs: Ints, score: Score = "cosine") -> Floats:
    """Return the similarities [P] of the rows [N, D] of each pair [P, 2]: the cosine, or the negative Euclidean distance."""
    similar = np.empty(len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        first, second = (rows[pairs[start : start + _CHUNK, side]] for side in (0, 1))
        alike = np.einsum("pd,pd->p", first, second) if score == "cosine" else -np.linalg.norm(first - second, axis=1)
        similar[start : start + _CHUNK] = alike
    return similar


def all_similarities(probes: Floats, gallery: Floats, score: Score = "cosine") -> Floats:
    """Return the similarities [P, G] of probes [P, D] and gallery [G, D]; see `similarities`."""
    product = probes @ gallery.T
    if score == "cosine":
        return np.asarray(product)
    squares = (probes**2).sum(1)[:, None] + (gallery**2).sum(1)[None] - 2 * product
    return np.asarray(-np.sqrt(np.maximum(squares, 0)))


def deal_folds(pictures: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Assign identities at random to folds of equal size, so that each fold has genuine pairs; all −1 if there are none.

    `pictures` [I] is the number of images of each identity. There are fewer folds than `most` if too few identities have two images.
    Returns the fold [I] of each identity, from 0.
    """
    several = pictures > 1
    count = min(most, int(several.sum()))
    if count == 0:
        return np.full(len(pictures), -1)
    order = rng.permutation(len(pictures))
    order = order[np.argsort(~several[order], kind="stable")]  # people with genuine pairs are dealt first, so that every fold gets some
    folds = np.empty(len(pictures), np.int64)
    folds[order] = np.arange(len(pictures)) % count
    return folds


def best_threshold(genuine: Floats, impostor: Floats) -> float:
    """Return the threshold, halfway between two neighbouring scores, that decides the most pairs correctly; of several, the lowest.

    A pair counts as genuine if its score is at least the threshold.
    """
    values = np.unique(np.concatenate([genuine, impostor]))
    candidates = np.concatenate([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    accepted = len(genuine) - np.searchsorted(np.sort(genuine), candidates)
    rejected = np.searchsorted(np.sort(impostor), candidates)
    return float(candidates[np.argmax(accepted + rejected)])


def folded_accuracy(genuine: Sequence[Floats], impostor: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Decide each fold's pairs with the threshold that is best on all other folds (Huang et al. 2007, LFW, view 2).

    The scores are given by fold: at least two, none of them empty. Returns accuracy [F] and threshold [F] per fold.
    """
    accuracies, thresholds = [], []
    for fold in range(len(genuine)):
        others = [other for other in range(len(genuine)) if other != fold]
        threshold = best_threshold(np.concatenate([genuine[i] for i in others]), np.concatenate([impostor[i] for i in others]))
        right = (genuine[fold] >= threshold).sum() + (impostor[fold] < threshold).sum()
        accuracies.append(right / (len(genuine[fold]) + len(impostor[fold])))
        thresholds.append(threshold)
    return np.array(accuracies), np.array(thresholds)


@dataclass(frozen=True)
class FaceScoring:
    """Settings for the comparison of embeddings.

    Attributes:
        score: "cosine", or "euclidean" for the distance between the model's unmodified embeddings; None for the score that the model was
            trained with ("cosine" for several models, or for embeddings from a file).
    """

    score: Score | None = None

    def __post_init__(self) -> None:
        """Validate the score."""
        if self.score is not None and self.score not in get_args(Score):
            raise UnknownNameError("score of the task face", str(self.score), get_args(Score))
