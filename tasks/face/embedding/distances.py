"""How far embeddings are apart: the only place where two of them are compared one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def distance_of(metadata: Mapping[str, Any]) -> str:
    """Return how a model's embeddings are compared, as its metadata says; by the cosine where it says nothing."""
    return str(metadata.get("distance", "cosine"))


def distances(query: NDArray[np.floating], rows: NDArray[np.floating], distance: str) -> NDArray[np.float64]:
    """Return how far rows [N, D] are from a query [D], as [N] in float64: 1 − cosine, or the Euclidean distance."""
    one, many = query.astype(np.float64), rows.astype(np.float64)
    if distance == "euclidean":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    # summed row by row: a matrix product's last digits depend on how many rows there are
    return np.asarray(1 - (many * one).sum(1) / lengths)
