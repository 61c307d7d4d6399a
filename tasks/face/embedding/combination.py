"""Combination of several embeddings of an image: their mean over views of one model, their concatenation over several models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.combination import Combination

Embedding = NDArray[np.float32]


class EmbeddingCombination(Combination):
    """Combination of embeddings over views and over models.

    All views of an image are embedded by one model into one space, so their embeddings are averaged, and the mean is normalised to unit
    length. It is not normalised for a model whose embeddings are compared by the distance between unnormalised embeddings.

    Different models embed into unrelated spaces, so a mean of their embeddings would be meaningless. The unit-length embeddings of M models
    are therefore concatenated and divided by √M. The result has unit length, and the cosine of two such vectors is the mean of the models'
    cosines.
    """

    def __init__(self, unit_length: bool = True) -> None:
        """Create the combination; `unit_length` is whether the mean over views is normalised to unit length."""
        self._unit_length = unit_length

    def recounted(self, answer: Embedding, new_index: Sequence[int]) -> Embedding:
        """Return the embedding unchanged, because it doesn't depend on classes."""
        return answer

    def mirrored(self, answer: Embedding, size_hw: tuple[int, int]) -> Embedding:
        """Return the embedding unchanged, because it contains no image coordinates."""
        return answer

    def views(self, answers: Sequence[Embedding]) -> Embedding:
        """Return the mean [D] of the embeddings, normalised to unit length if the combination was created with `unit_length`."""
        if not self._unit_length:
            return np.asarray(np.mean(answers, axis=0, dtype=np.float64), np.float32)
        return _unit(np.mean([_unit(answer) for answer in answers], axis=0)).astype(np.float32)

    def models(self, answers: Sequence[Embedding], vote: str, weights: Sequence[float]) -> Embedding:
        """Return the concatenation [D1 + D2 + …] of the normalised embeddings, normalised to unit length."""
        return _unit(np.concatenate([_unit(answer) for answer in answers])).astype(np.float32)

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return the entry "flip": whether the mirrored face was embedded too (the flip test of published results)."""
        return {"flip": "flip" in tta}


def _unit(embedding: NDArray[Any]) -> NDArray[np.float64]:
    wide = embedding.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide), 1e-12))
