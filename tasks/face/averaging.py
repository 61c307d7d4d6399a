"""Several embeddings of one face made into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError


def mean_embedding(embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of the embeddings' directions, at unit length.

    Args:
        embeddings: [D] each, of any length.

    Returns:
        [D] float32, of unit length.

    Raises:
        InputError: embeddings of different sizes, of no length, or that cancel each other out.
    """
    sizes = [len(embedding) for embedding in embeddings]
    if len(set(sizes)) > 1:
        raise InputError(f"the models' embeddings have {', '.join(map(str, sizes))} numbers; only embeddings of one size can be averaged")
    mean = np.mean([_unit(np.asarray(embedding, np.float64)) for embedding in embeddings], axis=0)
    return _unit(mean).astype(np.float32)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if not 1e-9 < length < np.inf:
        raise InputError(f"an embedding, or the mean of several, has the length {length:g}; it has no direction to compare")
    return vector / length
