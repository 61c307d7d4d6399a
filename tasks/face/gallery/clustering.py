"""Clustering of unknown faces by person: HDBSCAN's hierarchy, cut at the model's threshold if there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.tasks.face.gallery.store import Vectors

Place = tuple[int, int]
# Fraction of the threshold within which faces are linked. Faces are joined through each other, so a link must be more certain than a
# single comparison. On ORL's 400 faces with dlib's network (threshold 0.6), 0.75 gives an adjusted Rand index of 0.97, and of 1.0 for
# ten strangers and for five photos of one person. HDBSCAN's own density-based choice gives 0.87, 0.1 and 0.0: it needs both many faces
# and several people.
_LINK = 0.75


@dataclass(frozen=True)
class Groups:
    """Faces grouped by person. A face is given as (index of its photo, index of the face in that photo), both from 0."""

    groups: tuple[tuple[Place, ...], ...]  # faces of each person, largest group first
    alone: tuple[Place, ...]  # faces that belong to no group


def group(rows: Vectors, places: Sequence[Place], distance: str, threshold: float | None) -> Groups:
    """Group embeddings [N, D], whose photo and face indices are `places` [N], by person.

    The threshold is the largest distance ("cosine" or "euclidean") at which two faces count as the same person. None to decide by density,
    which can't distinguish one person, or only strangers, from several people.
    """
    if len(rows) < 2:
        return Groups((), tuple(places))
    from sklearn.cluster import HDBSCAN

    points = rows.astype(np.float64)
    if distance == "cosine":  # the chord between unit vectors, |a − b|² = 2 (1 − cosine), gives the same order
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        threshold = None if threshold is None else math.sqrt(2 * threshold)
    tree = HDBSCAN(min_cluster_size=2, min_samples=1, copy=True).fit(points)
    labels = tree.labels_ if threshold is None else tree.dbscan_clustering(_LINK * threshold, min_cluster_size=2)
    members = [tuple(int(row) for row in np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]
    groups = sorted((rows_of for rows_of in members if rows_of), key=lambda rows_of: (-len(rows_of), rows_of))
    return Groups(
        tuple(tuple(places[row] for row in rows_of) for rows_of in groups), tuple(places[int(row)] for row in np.flatnonzero(labels < 0))
    )
