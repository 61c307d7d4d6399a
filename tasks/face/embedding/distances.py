"""Distances between embeddings; all code that compares single embeddings uses this module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
