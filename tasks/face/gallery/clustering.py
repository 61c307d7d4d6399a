"""Cluster faces by person: HDBSCAN's hierarchy, cut at the model's threshold if there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.tasks.face.gallery.store import Vectors

Place = tuple[int, int]
# Maximum distance between two linked faces, as a fraction of the threshold. It is below 1, because a single wrong link merges two people.
# Adjusted Rand index with dlib's network (threshold 0.6): 0.97 for ORL's 400 faces, 1.0 for ten photos of ten people, 1.0 for five photos
# of one person. HDBSCAN's density-based clusters reach 0.87, 0.1 and 0.0, because they need many faces and several people.
_LINK = 0.75


@dataclass(frozen=True)
class Groups:
    """Faces grouped by person. Each face is a tuple (index of the photo, index of the face in that photo); both indices start at 0."""

    groups: tuple[tuple[Place, ...], ...]  # faces of each person, largest group first
    alone: tuple[Place, ...]  # faces that belong to no group


def group(rows: Vectors, places: Sequence[Place], distance: str, threshold: float | None) -> Groups:
    """Group faces by person.

    Args:
        rows: [N, D] embeddings of the faces.
        places: photo index and face index of each face.
        distance: "cosine" or "euclidean".
        threshold: largest distance at which two faces count as the same person. None to group by density, which fails if all faces show
            one person, or if all show different people.
    """
    if len(rows) < 2:
        return Groups((), tuple(places))
    from sklearn.cluster import HDBSCAN

    points = rows.astype(np.float64)
    if distance == "cosine":  # Euclidean distances between unit vectors have the same order: |a − b|² = 2 (1 − cosine)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        threshold = None if threshold is None else math.sqrt(2 * threshold)
    tree = HDBSCAN(min_cluster_size=2, min_samples=1, copy=True).fit(points)
    labels = tree.labels_ if threshold is None else tree.dbscan_clustering(_LINK * threshold, min_cluster_size=2)
    members = [tuple(int(row) for row in np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]
    groups = sorted((rows_of for rows_of in members if rows_of), key=lambda rows_of: (-len(rows_of), rows_of))
    return Groups(
        tuple(tuple(places[row] for row in rows_of) for rows_of in groups), tuple(places[int(row)] for row in np.flatnonzero(labels < 0))
    )
