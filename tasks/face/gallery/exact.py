"""Who is nearest, and how wrong float32 can be about it: what every store's answer is, however it has narrowed the search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def part_of(size: int) -> float:
    """Return the part by which float32 can be wrong about a dot product, or a sum of squares, of so many numbers; see `slack`."""
    return (size + 8) * 2.0**-23


def slack(size: int, longest: float, query: float, distance: str) -> float:
    """Return by how much float32 can be wrong about 1 − cosine, or about a squared Euclidean distance.

    A dot product of D numbers in any order of summation is within D·u / (1 − D·u) of |a|·|b| (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, §3.1), with u = 2⁻²⁴; twice that and eight more operations leave room for norms and differences.

    Args:
        size: D.
        longest: length of the longest row.
        query: length of the query.
        distance: "cosine" or "euclidean".
    """
    part = part_of(size)
    return part if distance == "cosine" else part * (longest + query) ** 2


def first_people(far: Floats, people: Ints, numbers: Ints, top: int) -> Ints:
    """Return where the nearest face of each of the nearest people stands, nearest first.

    Args:
        far: [N] distances.
        people: [N] whose face each is.
        numbers: [N] the faces' own numbers, which decide between equal distances.
        top: how many people.
    """
    order = np.lexsort((numbers, far))
    first = np.sort(np.unique(people[order], return_index=True)[1])  # the first of each person, still in order
    return np.asarray(order[first[:top]])
