"""Answers of a gallery about faces: the person whom a face shows, and the groups of faces that show one person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo.tasks.face.embedding.distances import decide
from zoo.tasks.face.gallery.store import Match, Vectors

Decision = Literal["known", "unknown", "undecided"]
_ALIKE = 1e-6  # distances that differ by less are tied, because rounding in the network causes such differences
Place = tuple[int, int]
# Maximum distance between two linked faces, as a fraction of the threshold. It is below 1, because a single wrong link merges two people.
# Adjusted Rand index with dlib's network (threshold 0.6): 0.97 for ORL's 400 faces, 1.0 for ten photos of ten people, 1.0 for five photos
# of one person. HDBSCAN's density-based clusters reach 0.87, 0.1 and 0.0, because they need many faces and several people.
_LINK = 0.75


@dataclass(frozen=True)
class Identification:
    """Enrolled people nearest to a face, and the decision about its identity.

    Attributes:
        matches: nearest face of each of the nearest people, nearest first.
        threshold: largest distance at which two faces count as the same person; None if unknown.
        tied: names of the people at the smallest distance if there are several; otherwise empty.
    """

    matches: tuple[Match, ...]
    threshold: float | None
    tied: tuple[str, ...] = ()

    @property
    def enrolled(self) -> bool:
        """Whether the face belongs to an enrolled person: the smallest distance is below the undecided band (see `distances.decide`).

        If several people are tied, the face belongs to one of them.
        """
        return bool(self.matches) and self.threshold is not None and decide(self.matches[0].distance, self.threshold)[0] == "same"

    @property
    def decision(self) -> Decision:
        """Decision about the identity of the face.

        "known" if the smallest distance is below the undecided band around the threshold; "unknown" if it is above the band, or if the
        gallery is empty; "undecided" if it is within the band, if there is no threshold, or if several people are tied below the band.
        """
        if not self.matches:
            return "unknown"
        if self.enrolled:
            return "undecided" if self.tied else "known"
        if self.threshold is None:
            return "undecided"
        return "unknown" if decide(self.matches[0].distance, self.threshold)[0] == "different" else "undecided"

    @property
    def name(self) -> str | None:
        """Name of the person; None unless the decision is "known"."""
        return self.matches[0].name if self.decision == "known" else None

    def to_dict(self) -> dict[str, Any]:
        """Return the identification as a JSON-ready dict. `band` are the distances between which the decision is "undecided"."""
        return {
            "name": self.name,
            "decision": self.decision,
            "threshold": self.threshold,
            "band": None if self.threshold is None else list(decide(0.0, self.threshold)[1]),
            "tied": list(self.tied),
            "matches": [{"name": match.name, "distance": match.distance, "photo": match.photo} for match in self.matches],
        }


def tied(matches: Sequence[Match]) -> tuple[str, ...]:
    """Return the names of the people at the smallest distance if there are several; otherwise an empty tuple."""
    alike = tuple(match.name for match in matches if match.distance <= matches[0].distance + _ALIKE)
    return alike if len(alike) > 1 else ()


@dataclass(frozen=True)
class Groups:
    """Faces grouped by person. Each face is a tuple (index of the photo, index of the face in that photo); both indices start at 0."""

    groups: tuple[tuple[Place, ...], ...]  # faces of each person, largest group first
    alone: tuple[Place, ...]  # faces that belong to no group


def group(rows: Vectors, places: Sequence[Place], distance: str, threshold: float | None) -> Groups:
    """Group faces with embeddings [N, D] by person, by cutting HDBSCAN's hierarchy at the threshold.

    Without a threshold, they are grouped by density, which fails if all faces show one person, or if all show different people.
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
    groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels[labels >= 0])]
    groups.sort(key=lambda faces: (-len(faces), faces))
    alone = np.flatnonzero(labels < 0).tolist()
    return Groups(tuple(tuple(places[row] for row in faces) for faces in groups), tuple(places[row] for row in alone))
