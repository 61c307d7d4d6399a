"""Comparison with the faces found by facenet-pytorch's pipeline in `face_pipeline`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.benchmarks.face_pipeline import PIXEL, Answer
from zoo.benchmarks.peers.race import Difference


def compare_faces(theirs: Sequence[Answer], ours: Sequence[Answer]) -> Difference:
    """Return the largest distance of embeddings, and the fraction of photos with the same boxes to within a pixel."""
    same, error = 0, 0.0
    for a, b in zip(theirs, ours, strict=True):
        if a.boxes.shape == b.boxes.shape and np.abs(a.boxes - b.boxes).max(initial=0) <= PIXEL:
            same += 1
            error = max(error, float(np.linalg.norm(a.embeddings - b.embeddings, axis=1).max(initial=0)))  # embeddings have unit length
    return Difference(error, same / len(theirs))
