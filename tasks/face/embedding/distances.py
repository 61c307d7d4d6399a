"""Comparison of single embeddings: whether they can be compared, their distance, the nearest people, and the decision by a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Answer = Literal["same", "different", "undecided"]

# Half-width of the band as a fraction of the threshold. Measured with dlib's network over all pairs of ORL's 400 images, 1,800 of one
# person and 78,000 of two people: the bare threshold of 0.6 accepts 2.1 % of the pairs of two people; 0.3 % of them are below 0.54, and
# above 0.66 there is no pair of one person. 0.6 % of the pairs of one person and 9.9 % of the pairs of two people lie in the band. Naming
# a face among many people compares it with each of them, so mistakes add up: see `zoo.benchmarks.open_set`.
BAND = 0.1


def distance_of(metadata: Mapping[str, Any]) -> str:
    """Return the distance of a model's embeddings from its metadata; "cosine" if the metadata has none."""
    return str(metadata.get("distance", "cosine"))


def distances(query: NDArray[np.floating], rows: NDArray[np.floating], distance: str) -> NDArray[np.float64]:
    """Return the distances [N] float64 of rows [N, D] to a query [D]: 1 − cosine, or Euclidean."""
    one, many = query.astype(np.float64), rows.astype(np.float64)
    if distance == "euclidean":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    # sum row by row: the last digits of a matrix product depend on the number of rows
    return np.asarray(1 - (many * one).sum(1) / lengths)


def part_of(size: int) -> float:
    """Return the relative float32 error bound of a dot product, or a sum of squares, of `size` numbers; see `slack`."""
    return (size + 8) * 2.0**-23


def slack(size: int, longest: float, query: float, distance: str) -> float:
    """Return an upper bound on the float32 error of 1 − cosine, or of a squared Euclidean distance.

    A dot product of D numbers in any order of summation is within D·u / (1 − D·u) of |a|·|b| (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, §3.1), with u = 2⁻²⁴; twice that, plus eight more operations, leaves room for norms and differences.
    `longest` is the largest norm of the rows, `query` the norm of the query.
    """
    part = part_of(size)
    return part if distance == "cosine" else part * (longest + query) ** 2


def first_people(far: Floats, people: Ints, numbers: Ints, top: int) -> Ints:
    """Return the positions of the nearest face of each of the nearest `top` people, nearest first.

    `far`, `people` and `numbers` are the distance, person and number of each face, all [N]; of equal distances, the lower number comes
    first.
    """
    order = np.lexsort((numbers, far))
    first = np.sort(np.unique(people[order], return_index=True)[1])  # the first face of each person, still ordered by distance
    return np.asarray(order[first[:top]])


def decide(apart: float, threshold: float) -> tuple[Answer, tuple[float, float]]:
    """Return the answer for a distance, and the band in which the answer is undecided."""
    low, high = threshold * (1 - BAND), threshold * (1 + BAND)
    return ("same" if apart < low else "different" if apart > high else "undecided"), (low, high)


def check_embedding(embedding: NDArray[Any]) -> None:
    """Raise a Flaw unless an embedding has the shape [D], D ≥ 1, is finite, and isn't all 0, for which no cosine is defined."""
    if embedding.ndim != 1 or not len(embedding):
        raise Flaw(f"its embedding has the shape {list(embedding.shape)}; expected [D], one row of numbers")
    if not np.isfinite(embedding).all():
        raise Flaw("its embedding is not finite")
    if not embedding.any():
        raise Flaw(f"all {len(embedding)} numbers of its embedding are 0: it has no direction, so its cosine is undefined")


def check_answer(embedding: NDArray[Any], key: str) -> None:
    """Check that a model's embedding has a direction; the message names the image."""
    try:
        check_embedding(embedding)
    except Flaw as flaw:
        raise InputError(f"{key}: {flaw}; the model's weights are damaged, or --precision is too low for them") from None


def check_length(length: int, other: int, whose: str) -> None:
    """Raise a Flaw if two embeddings differ in length; `whose` is the location or key of the earlier embedding."""
    if length != other:
        raise Flaw(f"its embedding has {length} numbers, that of {whose} has {other}; expected the same length for all")
