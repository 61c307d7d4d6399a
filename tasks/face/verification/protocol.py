"""Building blocks of the verification protocol: pairs, folds, similarities and thresholds.

A genuine pair shows the same person twice, an impostor pair two people. Higher scores mean more similar images.
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
_CHUNK = 8192  # number of pairs compared at once; limits memory use


def comparable(embeddings: NDArray[np.floating], score: Score) -> Floats:
    """Return embeddings [N, D] in float64 for `similarities`: normalised to unit length for the cosine, otherwise unchanged.

    No embedding may be all zeros. `distances.check_embedding` rejects such embeddings earlier, with the key of the image.
    """
    rows = embeddings.astype(np.float64)
    if score == "euclidean":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assert lengths.all(), "an embedding is all zeros"
    return np.asarray(rows / lengths)


def count_pairs(identities: Ints) -> tuple[int, int]:
    """Return the numbers of genuine and of impostor pairs among images with identities [N]."""
    sizes = np.unique(identities, return_counts=True)[1]
    genuine = int((sizes * (sizes - 1) // 2).sum())
    return genuine, len(identities) * (len(identities) - 1) // 2 - genuine


def sample_pairs(identities: Ints, genuine: bool, limit: int, rng: np.random.Generator) -> Ints:
    """Return all distinct genuine or impostor pairs, or `limit` of them drawn uniformly, as positions [P, 2] in `identities` [N].

    Pairs are numbered without being enumerated. If images are sorted by identity, each one has a known number of preceding partners: images
    of the same person for genuine pairs, images of other people for impostor pairs. The cost therefore depends on `limit`, not on the
    number of all pairs.
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
    """Return all distinct impostor pairs [P, 2] with at least one person of a fold, or `limit` of them drawn uniformly.

    Pairs, `own` (the fold's images) and `shown` (images that the pairs may contain, including the fold's) are indices into `identities`.
    """
    partners = np.setdiff1d(shown, own)
    within = own[sample_pairs(identities[own], False, limit, rng)]
    inside, across = count_pairs(identities[own])[1], len(own) * len(partners)
    # draw uniformly from the numbered pairs; a number below `inside` stands for a pair within the fold
    numbers = _draw(inside + across, limit, rng)
    from_within = int((numbers < inside).sum())
    crossing = numbers[numbers >= inside] - inside
    pairs = np.stack([own[crossing // max(1, len(partners))], partners[crossing % len(partners)]], axis=1) if len(crossing) else within[:0]
    return np.concatenate([within[rng.permutation(len(within))[:from_within]], pairs])


def _draw(total: int, limit: int, rng: np.random.Generator) -> Ints:
    """Return `limit` distinct numbers below `total` in ascending order, or all if there are fewer. Memory use depends only on `limit`."""
    if total <= limit:
        return np.arange(total)
    numbers: Ints = np.empty(0, np.int64)
    while len(numbers) < limit:
        numbers = np.unique(np.concatenate([numbers, rng.integers(total, size=limit)]))
    return np.sort(rng.permutation(numbers)[:limit])


def similarities(rows: Floats, pairs: Ints, score: Score = "cosine") -> Floats:
    """Return the similarity of each pair [P, 2] of `rows` [N, D] from `comparable`: the cosine, or the negative Euclidean distance."""
    similar = np.empty(len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        first, second = (rows[pairs[start : start + _CHUNK, side]] for side in (0, 1))
        alike = np.einsum("pd,pd->p", first, second) if score == "cosine" else -np.linalg.norm(first - second, axis=1)
        similar[start : start + _CHUNK] = alike
    return similar


def all_similarities(probes: Floats, gallery: Floats, score: Score = "cosine") -> Floats:
    """Return the similarities [P, G] of all probes [P, D] to all gallery embeddings [G, D]; see `similarities`."""
    product = probes @ gallery.T
    if score == "cosine":
        return np.asarray(product)
    squares = (probes**2).sum(1)[:, None] + (gallery**2).sum(1)[None] - 2 * product
    return np.asarray(-np.sqrt(np.maximum(squares, 0)))


def deal_folds(pictures: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Assign identities at random to at most `most` folds with equal numbers of people, so that each fold has genuine pairs.

    `pictures` [I] are the numbers of images of the identities. There are fewer folds if fewer identities have two or more images.

    Returns:
        Fold of each identity, [I], from 0; all −1 if no identity has two images.
    """
    several = pictures > 1
    count = min(most, int(several.sum()))
    if count == 0:
        return np.full(len(pictures), -1)
    order = rng.permutation(len(pictures))
    # assign people with genuine pairs first, so that every fold receives some
    order = order[np.argsort(~several[order], kind="stable")]
    folds = np.empty(len(pictures), np.int64)
    folds[order] = np.arange(len(pictures)) % count
    return folds


def best_threshold(genuine: Floats, impostor: Floats) -> float:
    """Return the threshold that decides the most pairs correctly, halfway between two neighbouring scores.

    A pair counts as genuine if its score is at least the threshold. If several thresholds are equally good, the lowest is returned.
    """
    values = np.unique(np.concatenate([genuine, impostor]))
    candidates = np.concatenate([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    accepted = len(genuine) - np.searchsorted(np.sort(genuine), candidates)
    rejected = np.searchsorted(np.sort(impostor), candidates)
    return float(candidates[np.argmax(accepted + rejected)])


def folded_accuracy(genuine: Sequence[Floats], impostor: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the accuracy [F] and the threshold [F] of two or more folds from the scores of their pairs (Huang et al. 2007, LFW, view 2).

    The pairs of a fold are classified with the threshold that has the highest accuracy on all other folds.
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
    """Scoring options of the face task.

    Attributes:
        score: similarity of embeddings: "cosine", or "euclidean" for the negative distance between the model's unnormalised embeddings. By
            default, the one that the model was trained with, or "cosine" for ensembles and for embeddings from a file.
    """

    score: Score | None = None

    def __post_init__(self) -> None:
        if self.score is not None and self.score not in get_args(Score):
            raise UnknownNameError("score of the task face", str(self.score), get_args(Score))
