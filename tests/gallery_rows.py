"""Model identity and random embeddings for the gallery tests."""

from __future__ import annotations

import numpy as np

from zoo.tasks.face.gallery import Embedder
from zoo.tasks.face.gallery.store import Vectors

MODEL = Embedder("0123456789abcdef", "dlib_resnet29", "euclidean", 0.6)


def vectors(count: int, size: int = 128, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
