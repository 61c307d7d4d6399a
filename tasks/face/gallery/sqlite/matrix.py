"""In-memory array of all enrolled embeddings. A search computes a matrix product, then compares the candidates exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zoo.tasks.face.embedding.distances import Ints, distances, first_people, slack
from zoo.tasks.face.gallery.store import Vectors

_BLOCK_BYTES = 256 * 2**20  # maximum memory for float32 distances


class Matrix:
    """Growable array of embeddings [N, D], with the number of the face and of the person for each."""

    def __init__(self, size: int, distance: str) -> None:
        """Create an empty array for embeddings of `size` dimensions; `distance` is "cosine" or "euclidean"."""
        self._distance = distance
        self._rows: Vectors = np.empty((0, size), np.float32)
        self._lengths: Vectors = np.empty(0, np.float32)
        self._faces: Ints = np.empty(0, np.int64)
        self._people: Ints = np.empty(0, np.int64)
        self._count = 0

    @property
    def last_face(self) -> int:
        """Highest face number; 0 if the array is empty."""
        return int(self._faces[self._count - 1]) if self._count else 0

    def reserve(self, count: int) -> None:
        """Allocate memory for `count` more rows. An array with rows grows by at least half, so that rows are seldom copied."""
        needed = self._count + count
        if needed <= len(self._rows):
            return
        room = needed if not self._count else max(needed, len(self._rows) * 3 // 2)
        for name in ("_rows", "_lengths", "_faces", "_people"):
            old = getattr(self, name)
            new = np.empty((room, *old.shape[1:]), old.dtype)
            new[: self._count] = old[: self._count]
            setattr(self, name, new)

    def append(self, rows: Vectors, faces: Ints, people: Ints) -> None:
        """Append embeddings [N, D]. Their face indices [N] must be higher than all existing ones."""
        self.reserve(len(rows))
        part = slice(self._count, self._count + len(rows))
        self._rows[part], self._faces[part], self._people[part] = rows, faces, people
        self._lengths[part] = np.linalg.norm(rows, axis=1)
        self._count = part.stop

    def nearest(self, queries: Vectors, top: int) -> list[list[tuple[int, float]]]:
        """Return, for each query [Q, D], the number and distance of the nearest face of each of the `top` nearest people, nearest first.

        All candidates within the rounding error of float32 are ranked by distances computed in float64.
        """
        if not self._count:
            return [[] for _ in queries]
        people = self._people[: self._count]
        return [self._decide(query, self._could_be(query, far, people, top), top) for query, far in self._far(queries)]

    def _far(self, queries: Vectors) -> Iterator[tuple[Vectors, Vectors]]:
        """Yield each query with its float32 distances to all rows [N]: 1 − cosine, or the squared Euclidean distance."""
        rows, lengths = self._rows[: self._count], self._lengths[: self._count]
        block = max(1, _BLOCK_BYTES // (4 * self._count))
        for start in range(0, len(queries), block):
            part = queries[start : start + block]
            products = part @ rows.T
            for query, product in zip(part, products, strict=True):
                own = np.float32(np.linalg.norm(query))
                if self._distance == "cosine":
                    yield query, 1 - product / (lengths * own)
                else:
                    yield query, lengths * lengths + own * own - 2 * product

    def _could_be(self, query: Vectors, far: Vectors, people: Ints, top: int) -> Ints:
        nearest = np.full(int(people.max()) + 1, np.inf, np.float32)
        np.minimum.at(nearest, people, far)
        known = nearest[np.isfinite(nearest)]
        place = min(top, len(known)) - 1
        last = float(np.partition(known, place)[place])
        longest = float(self._lengths[: self._count].max())
        room = 2 * slack(self._rows.shape[1], longest, float(np.linalg.norm(query)), self._distance)
        return np.flatnonzero(far <= last + room)

    def _decide(self, query: Vectors, places: Ints, top: int) -> list[tuple[int, float]]:
        far = distances(query, self._rows[places], self._distance)
        faces = self._faces[places]
        return [(int(faces[place]), float(far[place])) for place in first_people(far, self._people[places], faces, top)]
