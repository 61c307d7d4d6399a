"""Combination of embeddings over views and over models."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.tasks.face.embedding.distances import EmbeddingCombination

FUSION = EmbeddingCombination()


def embedding(*numbers: float) -> NDArray[np.float32]:
    return np.array(numbers, np.float32)


def random(count: int, length: int, seed: int) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, length))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def test_views_are_averaged_and_brought_to_unit_length() -> None:
    found = FUSION.views([embedding(1, 0), embedding(0, 1)])
    assert found == pytest.approx([0.5**0.5, 0.5**0.5])
    assert found.dtype == np.float32
    assert FUSION.views([embedding(5, 0), embedding(0, 1)]) == pytest.approx(found), "lengths have no influence"


def test_the_cosine_over_several_models_is_the_mean_of_theirs() -> None:
    """Also for models whose embeddings differ in length."""
    first, second = random(2, 16, 0), random(2, 9, 1)
    a, b = (FUSION.models([first[person], second[person]], "soft", [0.5, 0.5]) for person in range(2))
    assert a.shape == (25,)
    assert float(np.linalg.norm(a)) == pytest.approx(1)
    assert float(a @ b) == pytest.approx((float(first[0] @ first[1]) + float(second[0] @ second[1])) / 2, abs=1e-6)


def test_embeddings_without_direction_stay_finite() -> None:
    assert FUSION.views([embedding(1, 0), embedding(-1, 0)]).tolist() == [0, 0]


def test_neither_classes_nor_places_matter() -> None:
    assert FUSION.recounted(embedding(1, 2), [1, 0]).tolist() == [1, 2]
    assert FUSION.mirrored(embedding(1, 2), (4, 4)).tolist() == [1, 2]
    assert (FUSION.details(("flip",)), FUSION.details(("scales",))) == ({"flip": True}, {"flip": False})
