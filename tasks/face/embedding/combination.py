"""Combine embeddings of one image: the mean over views of one model, the concatenation over several models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.combination import Combination

Embedding = NDArray[np.float32]


class EmbeddingCombination(Combination):
    """Combination of embeddings over views and over models.

    Views of one model lie in one space, so their combined embedding is their mean, normalised to unit length. Different models embed into
    unrelated spaces: averaging their embeddings would be meaningless, and impossible where lengths differ. The unit-length embeddings of
    M models are therefore concatenated and divided by √M, which gives one vector of unit length; the cosine of two such vectors is the mean
    of the models' cosines, so the models' scores are averaged.

    For a model whose embeddings are compared by their unnormalised distance, the mean over views is not normalised.
    """

    def __init__(self, unit_length: bool = True) -> None:
        """Set whether the mean over views is normalised to unit length."""
        self._unit_length = unit_length

    def recounted(self, answer: Embedding, new_index: Sequence[int]) -> Embedding:
        """Return the embedding unchanged; it doesn't depend on classes."""
        return answer

    def mirrored(self, answer: Embedding, size_hw: tuple[int, int]) -> Embedding:
        """Return the embedding unchanged; it has no position in the image."""
        return answer

    def views(self, answers: Sequence[Embedding]) -> Embedding:
        """Return the mean [D] of the embeddings, normalised if the combination was built with `unit_length`."""
        if not self._unit_length:
            return np.asarray(np.mean(answers, axis=0, dtype=np.float64), np.float32)
        return _unit(np.mean([_unit(answer) for answer in answers], axis=0)).astype(np.float32)

    def models(self, answers: Sequence[Embedding], vote: str, weights: Sequence[float]) -> Embedding:
        """Return the concatenation [D1 + D2 + …] of the embeddings, normalised to unit length."""
        return _unit(np.concatenate([_unit(answer) for answer in answers])).astype(np.float32)

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return whether the mirrored face was embedded too (the flip test of published results)."""
        return {"flip": "flip" in tta}


def _unit(embedding: NDArray[Any]) -> NDArray[np.float64]:
    wide = embedding.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide), 1e-12))
