"""Which of many unknown faces are one person: HDBSCAN's hierarchy, cut by the model's threshold where there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.tasks.face.gallery.store import Vectors

Place = tuple[int, int]
# of the threshold: faces are joined through each other, so a link must be surer than a single comparison. Of ORL's 400 faces with
# dlib's network (threshold 0.6), 0.75 gives an adjusted Rand index of 0.97, and 1.0 for ten strangers and for five photos of one
# person; HDBSCAN's own choice by density gives 0.87, 0.1 and 0.0: it needs both crowds and several people
_LINK = 0.75


@dataclass(frozen=True)
class Groups:
    """Faces by person, each as the place of its photo and its own in that photo, from 0.

    Attributes:
        groups: the faces of each person, the largest group first.
        alone: the faces that belong to no other.
    """

    groups: tuple[tuple[Place, ...], ...]
    alone: tuple[Place, ...]


def group(rows: Vectors, places: Sequence[Place], distance: str, threshold: float | None) -> Groups:
    """Group embeddings by person.

    Args:
        rows: [N, D] embeddings.
        places: [N] where each stands.
        distance: "cosine" or "euclidean".
        threshold: the largest distance at which two faces are taken for one person. None to let density decide, which can't tell one
            person, or only strangers, from several people.
    """
    if len(rows) < 2:
        return Groups((), tuple(places))
    from sklearn.cluster import HDBSCAN

    points = rows.astype(np.float64)
    if distance == "cosine":  # the chord between directions, |a − b|² = 2 (1 − cosine), puts them in the same order
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        threshold = None if threshold is None else math.sqrt(2 * threshold)
    tree = HDBSCAN(min_cluster_size=2, min_samples=1, copy=True).fit(points)
    labels = tree.labels_ if threshold is None else tree.dbscan_clustering(_LINK * threshold, min_cluster_size=2)
    members = [tuple(int(row) for row in np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]
    groups = sorted((rows_of for rows_of in members if rows_of), key=lambda rows_of: (-len(rows_of), rows_of))
    return Groups(
        tuple(tuple(places[row] for row in rows_of) for rows_of in groups), tuple(places[int(row)] for row in np.flatnonzero(labels < 0))
    )
