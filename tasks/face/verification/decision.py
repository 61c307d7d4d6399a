"""Decision band around a threshold in which the answer is undecided; used to compare two photos and to name a face."""

from __future__ import annotations

from typing import Literal

Answer = Literal["same", "different", "undecided"]

# Half-width of the band as a fraction of the threshold. Measured with dlib's network over all pairs of ORL's 400 images, 1,800 of one
# person and 78,000 of two people: the bare threshold of 0.6 accepts 2.1 % of the pairs of two people; 0.3 % of them are below 0.54, and
# above 0.66 there is no pair of one person. 0.6 % of the pairs of one person and 9.9 % of the pairs of two people lie in the band. Naming
# a face among many people compares it with each of them, so mistakes add up: see `zoo.benchmarks.open_set`.
BAND = 0.1


def decide(apart: float, threshold: float) -> tuple[Answer, tuple[float, float]]:
    """Return the answer for a distance, and the band in which the answer is undecided."""
    low, high = threshold * (1 - BAND), threshold * (1 + BAND)
    return ("same" if apart < low else "different" if apart > high else "undecided"), (low, high)
