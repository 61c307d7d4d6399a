"""Storage interface of galleries, and the records that it stores and returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.gallery.embedder import Embedder

Vectors = NDArray[np.float32]
Quality = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class NewFace:
    """Face to enrol.

    Attributes:
        embedding: [D] float32, finite, unmodified output of the model.
        photo: key of the photo that the face was found in.
        quality: quality measurements by name; empty if nothing was measured.
    """

    embedding: Vectors
    photo: str = ""
    quality: Quality = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EnrolledFace:
    """Enrolled face.

    Attributes:
        number: number of the face in the gallery, never reused.
        name: name of the person.
        photo: key of the photo that the face was found in.
        quality: quality measurements by name.
        enrolled: time of enrolment, UTC, ISO 8601.
        embedding: [D] float32, unmodified output of the model.
    """

    number: int
    name: str
    photo: str
    quality: Quality
    enrolled: str
    embedding: Vectors

    def to_dict(self) -> dict[str, Any]:
        """Return the face, JSON-ready, without its embedding."""
        return {"number": self.number, "photo": self.photo, "quality": dict(self.quality), "enrolled": self.enrolled}


@dataclass(frozen=True)
class Person:
    """Enrolled person.

    Attributes:
        name: name of the person.
        faces: number of enrolled faces, one per photo.
        enrolled: time of the first enrolment, UTC, ISO 8601.
    """

    name: str
    faces: int
    enrolled: str


@dataclass(frozen=True)
class Match:
    """Nearest face of an enrolled person.

    Attributes:
        name: name of the person.
        distance: distance from the query.
        photo: key of the photo that the face was enrolled from.
        number: number of the face in the gallery.
    """

    name: str
    distance: float
    photo: str
    number: int


@dataclass(frozen=True)
class Described:
    """Description of a gallery's embeddings.

    Attributes:
        embedder: model that the gallery belongs to.
        size: dimensions of an embedding.
    """

    embedder: Embedder
    size: int


class Store(Protocol):
    """Storage of a gallery: each method is one transaction, and if it raises a GalleryError, nothing has changed, except in `remove`.

    Attributes:
        place: location, as messages name it after the word gallery.
    """

    place: str

    def described(self) -> Described | None:
        """Return the description of the gallery; None if no person has been enrolled yet."""

    def add(self, about: Described, people: Mapping[str, Sequence[NewFace]], more: bool) -> None:
        """Enrol people, all or none; the first enrolment creates the gallery.

        Args:
            about: model and size of the embeddings.
            people: faces by name.
            more: whether faces may be added to a name that exists.

        Raises:
            ModelMismatchError: the gallery belongs to another model.
            NameTakenError: a name exists, and `more` is false.
        """

    def remove(self, name: str) -> int:
        """Delete a person with every face, and overwrite them in the storage; return the number of faces, 0 for an unknown name.

        Raises:
            GalleryError: also if they are deleted but could not be overwritten.
        """

    def people(self) -> list[Person]:
        """Return all enrolled people, sorted by name."""

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order of enrolment; empty for an unknown name."""

    def count(self) -> int:
        """Return the number of enrolled faces."""

    def nearest(self, given: Embedder, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]] | None:
        """Return the description of the gallery and, for each query, the nearest face of each of the nearest `top` people, nearest first.

        The search is exact in float64. None if there is no gallery yet.

        Args:
            given: model of the queries.
            queries: [Q, D] embeddings to search for.
            top: number of people per query.

        Raises:
            ModelMismatchError: the gallery belongs to another model.
        """

    def close(self) -> None:
        """Release the connection and cached embeddings."""
