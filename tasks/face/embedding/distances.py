"""Comparison and combination of embeddings: validation, distances, nearest people, the decision by a threshold, means over views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError
from zoo.task.combination import Combination

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Embedding = NDArray[np.float32]
Answer = Literal["same", "different", "undecided"]

# Half-width of the undecided band around the threshold, as a fraction of the threshold. Measured with dlib's network (threshold 0.6) over
# all pairs of ORL's 400 images: 1,800 genuine pairs and 78,000 impostor pairs. Without a band, 2.1 % of the impostor pairs are accepted.
# With the band, from 0.54 to 0.66, 0.3 % of the impostor pairs are accepted and no genuine pair is rejected; 0.6 % of the genuine pairs and
# 9.9 % of the impostor pairs are undecided. Identification compares a face with every enrolled person, so its error rate is higher; see
# `zoo.benchmarks.open_set`.
BAND = 0.1


def distance_of(metadata: Mapping[str, Any]) -> str:
    """Return the distance by which a model's embeddings are compared, from its metadata; "cosine" if it isn't set."""
    return str(metadata.get("distance", "cosine"))


def distances(query: NDArray[np.floating], rows: NDArray[np.floating], distance: str) -> NDArray[np.float64]:
    """Return the distances [N] float64 between embeddings [N, D] and a query [D]: 1 − cosine, or Euclidean."""
    one, many = query.astype(np.float64), rows.astype(np.float64)
    if distance == "euclidean":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    # sum row by row, because the rounding of a matrix product depends on the number of rows
    return np.asarray(1 - (many * one).sum(1) / lengths)


def part_of(size: int) -> float:
    """Return an upper bound on the relative float32 error of a dot product or a sum of squares over `size` values; see `slack`."""
    return (size + 8) * 2.0**-23


def slack(size: int, longest: float, query: float, distance: str) -> float:
    """Return an upper bound on the float32 error of 1 − cosine, or of a squared Euclidean distance, for embeddings of `size` dimensions.

    `longest` is the largest norm of the enrolled embeddings, and `query` the norm of the query. In any order of summation, the error of a
    dot product of D-dimensional vectors a and b is at most D·u / (1 − D·u) · |a|·|b|, with u = 2⁻²⁴ (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, §3.1). The bound is twice that for D + 8 dimensions, which allows for the errors of norms and differences.
    """
    part = part_of(size)
    return part if distance == "cosine" else part * (longest + query) ** 2


def first_people(far: Floats, people: Ints, numbers: Ints, top: int) -> Ints:
    """Return the indices of the nearest face of each of the `top` nearest people, nearest first.

    `far` [N] are the distances of the faces. Of faces at the same distance, the one with the lower number comes first.
    """
    order = np.lexsort((numbers, far))
    first = np.sort(np.unique(people[order], return_index=True)[1])  # the nearest face of each person, ordered by distance
    return np.asarray(order[first[:top]])


def decide(apart: float, threshold: float) -> tuple[Answer, tuple[float, float]]:
    """Return the decision for a distance, and the lower and upper end of the undecided band around the threshold."""
    low, high = threshold * (1 - BAND), threshold * (1 + BAND)
    return ("same" if apart < low else "different" if apart > high else "undecided"), (low, high)


def check_embedding(embedding: NDArray[Any]) -> None:
    """Raise a Flaw unless an embedding has the shape [D] with D ≥ 1, is finite, and isn't all zeros, for which no cosine is defined."""
    if embedding.ndim != 1 or not len(embedding):
        raise Flaw(f"its embedding has the shape {list(embedding.shape)}; expected [D], a row of one or more values")
    if not np.isfinite(embedding).all():
        raise Flaw("its embedding is not finite")
    if not embedding.any():
        raise Flaw(f"all {len(embedding)} values in its embedding are 0, so its cosine distance is undefined")


def check_answer(embedding: NDArray[Any], key: str) -> None:
    """Raise an InputError that names the image `key` unless an embedding computed by a model is valid."""
    try:
        check_embedding(embedding)
    except Flaw as flaw:
        raise InputError(f"{key}: {flaw}; the model's weights may be damaged, or --precision may be too low for them") from None


def check_length(length: int, other: int, whose: str) -> None:
    """Raise a Flaw if two embeddings have different lengths. `whose` is the location or key of the other embedding."""
    if length != other:
        raise Flaw(f"its embedding has {length} values, but the embedding of {whose} has {other}; expected the same length for all")


class EmbeddingCombination(Combination):
    """Combination of embeddings over views and over models.

    All views of an image are embedded by one model into one space, so their embeddings are averaged, and the mean is normalised to unit
    length. It is not normalised for a model whose embeddings are compared by the distance between unnormalised embeddings.

    Different models embed into unrelated spaces, so a mean of their embeddings would be meaningless. The unit-length embeddings of M models
    are therefore concatenated and divided by √M. The result has unit length, and the cosine of two such vectors is the mean of the models'
    cosines.
    """

    def __init__(self, unit_length: bool = True) -> None:
        """Create the combination; `unit_length` is whether the mean over views is normalised to unit length."""
        self._unit_length = unit_length

    def recounted(self, answer: Embedding, new_index: Sequence[int]) -> Embedding:
        """Return the embedding unchanged, because it doesn't depend on classes."""
        return answer

    def mirrored(self, answer: Embedding, size_hw: tuple[int, int]) -> Embedding:
        """Return the embedding unchanged, because it contains no image coordinates."""
        return answer

    def views(self, answers: Sequence[Embedding]) -> Embedding:
        """Return the mean [D] of the embeddings, normalised to unit length if the combination was created with `unit_length`."""
        if not self._unit_length:
            return np.asarray(np.mean(answers, axis=0, dtype=np.float64), np.float32)
        return _unit(np.mean([_unit(answer) for answer in answers], axis=0)).astype(np.float32)

    def models(self, answers: Sequence[Embedding], vote: str, weights: Sequence[float]) -> Embedding:
        """Return the concatenation [D1 + D2 + …] of the normalised embeddings, normalised to unit length."""
        return _unit(np.concatenate([_unit(answer) for answer in answers])).astype(np.float32)

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return the entry "flip": whether the mirrored face was embedded too (the flip test of published results)."""
        return {"flip": "flip" in tta}


def _unit(embedding: NDArray[Any]) -> NDArray[np.float64]:
    wide = embedding.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide), 1e-12))
