"""Whether the photos of a name show that one person, and nobody who is enrolled under another name: asked before anybody is enrolled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.tasks.face.embedding.distances import distances
from zoo.tasks.face.gallery.embedder import Embedder
from zoo.tasks.face.gallery.store import EnrolledFace, Match, NewFace

# of the threshold: nearer than that are copies of a photo. Of ORL's 1,800 pairs of photos of one person with dlib's network (threshold
# 0.6) the nearest are 0.095 apart, of the 78,000 pairs of two people 0.456
COPY = 0.1


def strangers(new: Sequence[NewFace], enrolled: Sequence[EnrolledFace], embedder: Embedder) -> list[str]:
    """Return which new photos show somebody else than the other photos of the same name, with their distance.

    Photos are one person's where each is within the threshold of another, as links of a chain: one that is turned to the side may be
    far from one that is turned to the other. The person is who is enrolled, else who is on the first photo.

    Args:
        new: the photos.
        enrolled: those that the name has already.
        embedder: the model; without a threshold nothing can be said.
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
        f"{face.photo}: another person than on the other photos (distance {apart[first + place]:.3f}, threshold {embedder.threshold:g})"
        for place, face in enumerate(new)
        if not linked[first + place]
    ]


def copies(name: str, new: Sequence[NewFace], nearest: Sequence[Sequence[Match]], embedder: Embedder) -> list[str]:
    """Return which new photos are, but for a trifle, a photo that another name is enrolled with.

    Args:
        name: whose photos they are to be.
        new: the photos.
        nearest: the nearest two people of each.
        embedder: the model.
    """
    most = COPY * (embedder.threshold or 0)
    return [
        f"{face.photo}: enrolled as {match.name!r} already (distance {match.distance:.3f})"
        for face, matches in zip(new, nearest, strict=True)
        for match in matches
        if match.name != name and match.distance <= most
    ]
