"""Checks before enrolment: the photos of a name must show a single person, who is not enrolled under another name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.tasks.face.embedding.distances import distances
from zoo.tasks.face.gallery.embedder import Embedder
from zoo.tasks.face.gallery.store import EnrolledFace, Match, NewFace

# Fraction of the threshold within which two photos are copies. With dlib's network (threshold 0.6), the smallest distance is 0.095 among
# ORL's 1,800 pairs of photos of one person, and 0.456 among its 78,000 pairs of two people.
COPY = 0.1


def strangers(new: Sequence[NewFace], enrolled: Sequence[EnrolledFace], embedder: Embedder) -> list[str]:
    """Return a message for each new photo that shows another person than the other photos of the same name.

    Photos show one person if each is within the threshold of another one, like the links of a chain: a face turned to one side may be
    far from one turned to the other. The reference is the enrolled photos, or the first new photo if there are none.

    Args:
        new: photos to enrol.
        enrolled: photos already enrolled under the name.
        embedder: the embedding model; without a threshold, nothing is checked.
    """
    if embedder.threshold is None or not new:
        return []
    rows = np.stack([*(face.embedding for face in enrolled), *(face.embedding for face in new)])
    far = np.stack([distances(row, rows, embedder.distance) for row in rows])
    linked = np.arange(len(rows)) < max(1, len(enrolled))
    while (more := (far[linked] <= embedder.threshold).any(0) | linked).sum() > linked.sum():
        linked = more
    apart = far[linked].min(0)
    first = len(enrolled)
    return [
        f"{face.photo}: shows another person than the other photos (distance {apart[first + place]:.3f}, threshold {embedder.threshold:g})"
        for place, face in enumerate(new)
        if not linked[first + place]
    ]


def copies(name: str, new: Sequence[NewFace], nearest: Sequence[Sequence[Match]], embedder: Embedder) -> list[str]:
    """Return a message for each new photo that is nearly identical to one enrolled under another name.

    Args:
        name: name to enrol the photos under.
        new: photos to enrol.
        nearest: the two nearest enrolled people of each photo.
        embedder: the embedding model.
    """
    most = COPY * (embedder.threshold or 0)
    return [
        f"{face.photo}: already enrolled as {match.name!r} (distance {match.distance:.3f})"
        for face, matches in zip(new, nearest, strict=True)
        for match in matches
        if match.name != name and match.distance <= most
    ]
