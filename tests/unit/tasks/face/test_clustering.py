"""Clustering faces into people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.tasks.face.gallery.answers import group
from zoo.tasks.face.gallery.store import Vectors


def people(sizes: list[int], spread: float = 0.02) -> Vectors:
    """Return unit-length embeddings: one cloud per person, with centres 1.4 apart."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.eye(16)[index] + rng.normal(0, spread, (size, 16)) for index, size in enumerate(sizes)])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def grouped(rows: Vectors, distance: str, threshold: float | None) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Return the groups and the ungrouped faces, as row indices."""
    found = group(rows, [(row, 7) for row in range(len(rows))], distance, threshold)
    assert {face for places in (*found.groups, found.alone) for _, face in places} <= {7}
    return tuple(tuple(row for row, _ in places) for places in found.groups), tuple(row for row, _ in found.alone)


@pytest.mark.parametrize(("distance", "threshold"), [("euclidean", 0.6), ("cosine", 0.18)])
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([3, 1, 4, 1, 2], (((4, 5, 6, 7), (0, 1, 2), (9, 10)), (3, 8))),
        ([5], (((0, 1, 2, 3, 4),), ())),  # one person: can't be decided by density alone
        ([1] * 6, ((), (0, 1, 2, 3, 4, 5))),  # strangers
        ([1], ((), (0,))),
        ([], ((), ())),
    ],
)
def test_people_are_told_apart(sizes: list[int], expected: Any, distance: str, threshold: float) -> None:
    rows = people(sizes) if sizes else np.empty((0, 16), np.float32)
    assert grouped(rows, distance, threshold) == expected


def test_the_length_of_an_embedding_counts_for_the_euclidean_distance_alone() -> None:
    rows = people([2, 2])
    rows[1] *= 10
    assert grouped(rows, "cosine", 0.18)[0] == ((0, 1), (2, 3))
    assert grouped(rows, "euclidean", 0.6) == (((2, 3),), (0, 1))


def test_a_link_must_be_surer_than_a_single_comparison() -> None:
    rows = np.array([[0, 0], [0.44, 0], [0.88, 0], [2, 0], [2.5, 0]], np.float32)
    assert grouped(rows, "euclidean", 0.6) == (((0, 1, 2),), (3, 4))


def test_a_cosine_distance_is_no_chord() -> None:
    angles = np.array([0, 0.4, 0.9])  # cosine distances 0.079, 0.12 and 0.38; chords 0.40, 0.49 and 0.87
    rows = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert grouped(rows, "cosine", 0.18)[0] == ((0, 1),)


def test_without_a_threshold_density_decides() -> None:
    assert grouped(people([6, 6, 6]), "cosine", None)[0] == (tuple(range(6)), tuple(range(6, 12)), tuple(range(12, 18)))
