"""What goes into a gallery, and what comes out."""

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
    """A face to be enrolled.

    Attributes:
        embedding: [D] float32, finite, as the model gave it.
        photo: key of the photo it was found in.
        quality: what was measured of it; empty where nothing was.
    """

    embedding: Vectors
    photo: str = ""
    quality: Quality = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EnrolledFace:
    """A face that is enrolled.

    Attributes:
        number: its number in the gallery, never given twice.
        name: whose it is.
        photo: key of the photo it was found in.
        quality: what was measured of it.
        enrolled: when, UTC, ISO 8601.
        embedding: [D] float32, as the model gave it.
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
    """Somebody who is enrolled.

    Attributes:
        name: as it was given.
        faces: how many photos.
        enrolled: when the first came, UTC, ISO 8601.
    """

    name: str
    faces: int
    enrolled: str


@dataclass(frozen=True)
class Match:
    """The nearest face of an enrolled person.

    Attributes:
        name: whose it is.
        distance: how far it is from the face that was asked about.
        photo: key of the photo it was enrolled from.
        number: the face's number in the gallery.
    """

    name: str
    distance: float
    photo: str
    number: int


@dataclass(frozen=True)
class Described:
    """What a gallery says of itself.

    Attributes:
        embedder: the model it belongs to.
        size: numbers per embedding.
    """

    embedder: Embedder
    size: int


class Store(Protocol):
    """Where a gallery's rows are kept: each method is one transaction, and raises a GalleryError with nothing changed, but for `remove`.

    Attributes:
        place: where it is, as messages name it after the word gallery.
    """

    place: str

    def described(self) -> Described | None:
        """Return what the gallery says of itself; None where nobody has been enrolled yet."""

    def add(self, about: Described, people: Mapping[str, Sequence[NewFace]], more: bool) -> None:
        """Enrol people, all or none; the gallery comes to be with its first one.

        Args:
            about: the embeddings' model and size.
            people: faces by name.
            more: whether a name that exists gets further faces.

        Raises:
            ModelMismatchError: the gallery is of another model.
            NameTakenError: a name exists, and `more` is false.
        """

    def remove(self, name: str) -> int:
        """Delete a person and every face, and overwrite them in what the store holds; return how many faces there were, 0 for nobody.

        Raises:
            GalleryError: also where they are deleted and could not be overwritten.
        """

    def people(self) -> list[Person]:
        """Return everybody, in the order of their names."""

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order they came; none for a stranger."""

    def count(self) -> int:
        """Return how many faces are enrolled."""

    def nearest(self, given: Embedder, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]] | None:
        """Return what the gallery is of, and the nearest face of the nearest `top` people for queries [Q, D], nearest first.

        Exact, as float64 has it. None where there is no gallery yet.

        Args:
            given: the queries' model.
            queries: what to look for.
            top: how many people.

        Raises:
            ModelMismatchError: the gallery is of another model.
        """

    def close(self) -> None:
        """Let go of what is held."""
