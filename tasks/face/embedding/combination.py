"""Several embeddings of one picture: their mean over views of one model; over several models, what gives the mean of their cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.combination import Combination

Embedding = NDArray[np.float32]


class EmbeddingCombination(Combination):
    """Means of unit-length embeddings.

    Views of one model lie in one space, and their mean, brought to unit length again, is their embedding. Every model has a space of
    its own: a mean over models would add numbers that have nothing to do with each other, and could not be taken where lengths
    differ. Side by side, divided by √M, the embeddings of M models are one vector of unit length, and the cosine of two such vectors
    is the mean of the models' cosines: the models' scores are averaged.

    Embeddings of one model that are compared by their raw distance keep their length: their mean over views is taken as it is.
    """

    def __init__(self, unit_length: bool = True) -> None:
        """Say whether embeddings over views are brought to unit length."""
        self._unit_length = unit_length

    def recounted(self, answer: Embedding, new_index: Sequence[int]) -> Embedding:
        """Return the embedding: it doesn't depend on classes."""
        return answer

    def mirrored(self, answer: Embedding, size_hw: tuple[int, int]) -> Embedding:
        """Return the embedding: it has no place in the picture."""
        return answer

    def views(self, answers: Sequence[Embedding]) -> Embedding:
        """Return the mean of the embeddings [D], of unit length unless they are compared by their raw distance."""
        if not self._unit_length:
            return np.asarray(np.mean(answers, axis=0, dtype=np.float64), np.float32)
        return _unit(np.mean([_unit(answer) for answer in answers], axis=0)).astype(np.float32)

    def models(self, answers: Sequence[Embedding], vote: str, weights: Sequence[float]) -> Embedding:
        """Return the embeddings side by side, [D1 + D2 + …] of unit length."""
        return _unit(np.concatenate([_unit(answer) for answer in answers])).astype(np.float32)

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return whether the mirrored face was embedded too, the flip test of published results."""
        return {"flip": "flip" in tta}


def _unit(embedding: NDArray[Any]) -> NDArray[np.float64]:
    wide = embedding.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide), 1e-12))
