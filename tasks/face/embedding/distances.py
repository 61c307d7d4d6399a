"""Comparison of embeddings: validation, distances, nearest people, and the decision by a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
    """Return an upper bound on the float32 error of 1 − cosine, or of a squared Euclidean distance.

    In any order of summation, the error of a dot product of D-dimensional vectors a and b is at most D·u / (1 − D·u) · |a|·|b|, with
    u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1). The bound used here is twice that for D + 8 dimensions,
    which allows for the errors of norms and differences.

    Args:
        size: number D of dimensions.
        longest: largest norm of the enrolled embeddings.
        query: norm of the query.
        distance: "cosine" or "euclidean".
    """
    part = part_of(size)
    return part if distance == "cosine" else part * (longest + query) ** 2


def first_people(far: Floats, people: Ints, numbers: Ints, top: int) -> Ints:
    """Return the indices of the nearest face of each of the `top` nearest people, nearest first.

    Args:
        far: [N] distance of each face.
        people: [N] person of each face.
        numbers: [N] index of each face; of faces at the same distance, the one with the lower index comes first.
        top: maximum number of people.
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
    """Check an embedding computed by a model.

    Raises:
        InputError: the embedding is invalid. The message names the image.
    """
    try:
        check_embedding(embedding)
    except Flaw as flaw:
        raise InputError(f"{key}: {flaw}; the model's weights may be damaged, or --precision may be too low for them") from None


def check_length(length: int, other: int, whose: str) -> None:
    """Raise a Flaw if two embeddings have different lengths. `whose` is the location or key of the other embedding."""
    if length != other:
        raise Flaw(f"its embedding has {length} values, but the embedding of {whose} has {other}; expected the same length for all")
