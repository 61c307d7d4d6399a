"""facenet-pytorch's pipeline, from `face_pipeline`, over a folder of photos."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from zoo.benchmarks.face_pipeline import PIXEL, Answer, Pixels
from zoo.benchmarks.peers.race import Difference, Work


def over(side: Callable[[Pixels], Answer], photos: Sequence[Pixels]) -> Work:
    """Return the answers of one side for all photos."""

    def work() -> list[Answer]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of their ragged arrays
            return [side(photo) for photo in photos]

    return work


def compare_faces(theirs: Sequence[Answer], ours: Sequence[Answer]) -> Difference:
    """Return how far embeddings are apart, and in how many photos the same faces are found, to the pixel."""
    same, error = 0, 0.0
    for a, b in zip(theirs, ours, strict=True):
        if a.boxes.shape == b.boxes.shape and np.abs(a.boxes - b.boxes).max(initial=0) <= PIXEL:
            same += 1
            error = max(error, float(np.linalg.norm(a.embeddings - b.embeddings, axis=1).max(initial=0)))  # their length is 1
    return Difference(error, same / len(theirs))
