"""Embedders, vectors and photos for the contract of galleries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.tasks.face.gallery import Embedder, Gallery
from zoo.tasks.face.prediction.faces import Faces

DLIB = Embedder("0123456789abcdef", "dlib_resnet29", "euclidean", 0.6)
OTHER = Embedder("fedcba9876543210", "iresnet50", "cosine", 0.4)
Open = Callable[..., Gallery]


def vectors(count: int, size: int = 8, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def photo(key: str, count: int = 1, score: float = 0.99) -> Faces:
    """Return an image of noise with faces that meet all quality limits."""
    image = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    points = np.array([(80, 80), (120, 80), (100, 100), (85, 120), (115, 120)], np.float32)
    return Faces(
        key,
        image,
        np.tile(np.array([[60, 50, 140, 150]], np.float32), (count, 1)),
        np.full(count, score, np.float32),
        np.tile(points[None], (count, 1, 1)),
        vectors(count, seed=len(key)),
    )
