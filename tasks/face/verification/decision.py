"""The band around a threshold in which nobody can be sure: what comparing two photos and naming a face have in common."""

from __future__ import annotations

from typing import Literal

Answer = Literal["same", "different", "undecided"]

# Part of the threshold on either side of it. Measured with dlib's network over all pairs of ORL's 400 pictures, 1,800 of one person and
# 78,000 of two: the bare threshold of 0.6 takes 2.1 % of the strangers for one person; below 0.54 it is 0.3 %, and above 0.66 there is
# no pair of one person. 0.6 % of the pairs of one person and 9.9 % of the strangers lie between. Naming a face among many people is a
# comparison with each of them, so its mistakes add up: see `zoo.benchmarks.open_set`.
BAND = 0.1


def decide(apart: float, threshold: float) -> tuple[Answer, tuple[float, float]]:
    """Return the answer for a distance, and the band in which there is none."""
    low, high = threshold * (1 - BAND), threshold * (1 + BAND)
    return ("same" if apart < low else "different" if apart > high else "undecided"), (low, high)
