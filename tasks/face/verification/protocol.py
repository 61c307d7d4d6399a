"""The verification protocol as pure functions: pairs, folds and thresholds.

A genuine pair shows one person, an impostor pair two. Scores are similarities: higher is more alike.
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
_CHUNK = 8192  # pairs or probes compared at once, which bounds the memory


def comparable(embeddings: NDArray[np.floating], score: Score) -> Floats:
    """Return rows [N, D] in float64 as they are compared: of length 1 for the cosine, else as they are.

    A row of zeros has no cosine; `embeddings.check_embedding` refuses it where its key is known.
    """
    rows = embeddings.astype(np.float64)
    if score == "euclidean":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assert lengths.all(), "a row of zeros"
    return np.asarray(rows / lengths)


def count_pairs(identities: Ints) -> tuple[int, int]:
    """Return how many genuine and how many impostor pairs there are among identities [N]."""
    sizes = np.unique(identities, return_counts=True)[1]
    genuine = int((sizes * (sizes - 1) // 2).sum())
    return genuine, len(identities) * (len(identities) - 1) // 2 - genuine


def sample_pairs(identities: Ints, genuine: bool, limit: int, rng: np.random.Generator) -> Ints:
    """Return different pairs of one kind, drawn evenly where there are more than `limit`.

    Pairs are numbered without being listed: sorted by identity, each picture has a known number of earlier partners, those of
    its own person (genuine) or all before them (impostor). So a million pairs of many more cost no more than a million.

    Args:
        identities: [N], whose picture each is.
        genuine: pairs of one person, else of two.
        limit: at most so many.
        rng: decides which.

    Returns:
        [P, 2] positions in `identities`.
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
    """Return different pairs of two people, one of them of a fold, drawn evenly where there are more than `limit`.

    Args:
        identities: [N], whose picture each is.
        own: positions of the fold's pictures.
        shown: positions of all pictures that its pairs may show, its own among them.
        limit: at most so many.
        rng: decides which.

    Returns:
        [P, 2] positions in `identities`.
    """
    partners = np.setdiff1d(shown, own)
    within = own[sample_pairs(identities[own], False, limit, rng)]
    inside, across = count_pairs(identities[own])[1], len(own) * len(partners)
    # evenly over both kinds: a pair number below `inside` stands for one within the fold
    numbers = _draw(inside + across, limit, rng)
    from_within = int((numbers < inside).sum())
    crossing = numbers[numbers >= inside] - inside
    pairs = np.stack([own[crossing // max(1, len(partners))], partners[crossing % len(partners)]], axis=1) if len(crossing) else within[:0]
    return np.concatenate([within[rng.permutation(len(within))[:from_within]], pairs])


def _draw(total: int, limit: int, rng: np.random.Generator) -> Ints:
    """Return `limit` different numbers below `total`, or all of them, ascending; memory goes with the limit, not the total."""
    if total <= limit:
        return np.arange(total)
    numbers: Ints = np.empty(0, np.int64)
    while len(numbers) < limit:
        numbers = np.unique(np.concatenate([numbers, rng.integers(total, size=limit)]))
    return np.sort(rng.permutation(numbers)[:limit])


def similarities(rows: Floats, pairs: Ints, score: Score = "cosine") -> Floats:
    """Return how alike the rows [N, D] of each pair [P, 2] are, as [P]: the cosine, or the Euclidean distance with a minus."""
    parts = [_alike(rows[part[:, 0]], rows[part[:, 1]], score) for part in _chunks(pairs)]
    return np.concatenate(parts) if parts else np.empty(0)


def _alike(first: Floats, second: Floats, score: Score) -> Floats:
    if score == "cosine":
        return np.asarray(np.einsum("pd,pd->p", first, second))
    return np.asarray(-np.linalg.norm(first - second, axis=1))


def all_similarities(probes: Floats, gallery: Floats, score: Score = "cosine") -> Floats:
    """Return how alike probes [P, D] and gallery [G, D] are, as [P, G]; see `similarities`."""
    product = probes @ gallery.T
    if score == "cosine":
        return np.asarray(product)
    squares = (probes**2).sum(1)[:, None] + (gallery**2).sum(1)[None] - 2 * product
    return np.asarray(-np.sqrt(np.maximum(squares, 0)))


def _chunks(rows: Ints) -> list[Ints]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def deal_folds(pictures: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Share identities out over folds of equal size, at random, so that each fold has genuine pairs.

    Args:
        pictures: [I], how many pictures each identity has.
        most: folds wanted; there are fewer where identities, or those with two pictures, are too few.
        rng: decides who goes where.

    Returns:
        [I], the fold of each identity, from 0 up; all −1 where there are no genuine pairs at all.
    """
    several = pictures > 1
    count = min(most, int(several.sum()))
    if count == 0:
        return np.full(len(pictures), -1)
    order = rng.permutation(len(pictures))
    order = order[np.argsort(~several[order], kind="stable")]  # people with genuine pairs are dealt first: every fold gets some
    folds = np.empty(len(pictures), np.int64)
    folds[order] = np.arange(len(pictures)) % count
    return folds


def best_threshold(genuine: Floats, impostor: Floats) -> float:
    """Return the lowest of the thresholds that decide most pairs rightly, half-way between two neighbouring scores.

    A pair is taken as genuine where its score is at least the threshold.
    """
    values = np.unique(np.concatenate([genuine, impostor]))
    candidates = np.concatenate([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    accepted = len(genuine) - np.searchsorted(np.sort(genuine), candidates)
    rejected = np.searchsorted(np.sort(impostor), candidates)
    return float(candidates[np.argmax(accepted + rejected)])


def folded_accuracy(genuine: Sequence[Floats], impostor: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Decide each fold's pairs with the threshold that is best on all the other folds (Huang et al. 2007, LFW, view 2).

    Args:
        genuine: scores of the genuine pairs of each fold; two folds or more, none of them empty.
        impostor: scores of the impostor pairs of each fold.

    Returns:
        Accuracy [F] and threshold [F] per fold.
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
    """How embeddings are compared.

    Attributes:
        score: "cosine", or "euclidean" for the distance of the embeddings as the model gives them; None for what the model was trained by
            (for several models, or embeddings out of a file, that is taken to be "cosine").
    """

    score: Score | None = None

    def __post_init__(self) -> None:
        """Refuse another score.

        Raises:
            UnknownNameError: naming those there are.
        """
        if self.score is not None and self.score not in get_args(Score):
            raise UnknownNameError("score of face's scores:", str(self.score), get_args(Score))
