"""Exact selection of the nearest people, and float32 error bounds, which every store uses to narrow the search safely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def part_of(size: int) -> float:
    """Return the relative float32 error bound of a dot product, or a sum of squares, of `size` numbers; see `slack`."""
    return (size + 8) * 2.0**-23


def slack(size: int, longest: float, query: float, distance: str) -> float:
    """Return an upper bound on the float32 error of 1 − cosine, or of a squared Euclidean distance.

    A dot product of D numbers in any order of summation is within D·u / (1 − D·u) of |a|·|b| (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, §3.1), with u = 2⁻²⁴; twice that, plus eight more operations, leaves room for norms and differences.

    Args:
        size: number of dimensions D.
        longest: largest norm of the rows.
        query: norm of the query.
        distance: "cosine" or "euclidean".
    """
    part = part_of(size)
    return part if distance == "cosine" else part * (longest + query) ** 2


def first_people(far: Floats, people: Ints, numbers: Ints, top: int) -> Ints:
    """Return the positions of the nearest face of each of the nearest people, nearest first.

    Args:
        far: [N] distances.
        people: [N] number of the person of each face.
        numbers: [N] number of each face; of equal distances, the lower number comes first.
        top: number of people to return.
    """
    order = np.lexsort((numbers, far))
    first = np.sort(np.unique(people[order], return_index=True)[1])  # the first face of each person, still ordered by distance
    return np.asarray(order[first[:top]])
