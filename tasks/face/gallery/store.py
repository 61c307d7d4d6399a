"""Records that a gallery's stores accept and return.

The two stores, `SqliteStore` and `PostgresStore`, have the same methods. Each method is one transaction. If a method raises a GalleryError,
the gallery is unchanged, except that `remove` may have deleted faces without overwriting them. There is no gallery until the first
enrolment; until then, `described` and `nearest` return None. The search is exact in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.gallery.embedder import Embedder
from zoo.tasks.face.gallery.errors import ModelMismatchError

Vectors = NDArray[np.float32]
Quality = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class NewFace:
    """A face to enrol."""

    embedding: Vectors  # [D] float32, finite, unmodified output of the model
    photo: str = ""  # key of the photo; "" if unknown
    quality: Quality = field(default_factory=dict)  # quality measurements by name; empty if nothing was measured


@dataclass(frozen=True, eq=False)
class EnrolledFace:
    """An enrolled face.

    Attributes:
        number: number of the face in the gallery, never reused.
        name: name of the person.
        photo: key of the photo; "" if unknown.
        quality: quality measurements by name; empty if nothing was measured.
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
        """Return the face as a JSON-ready dict, without its name and embedding."""
        return {"number": self.number, "photo": self.photo, "quality": dict(self.quality), "enrolled": self.enrolled}


@dataclass(frozen=True)
class Person:
    """An enrolled person.

    Attributes:
        faces: number of enrolled faces, one per photo.
        enrolled: time of the first enrolment, UTC, ISO 8601.
    """

    name: str
    faces: int
    enrolled: str


@dataclass(frozen=True)
class Match:
    """The face of an enrolled person that is nearest to a query.

    Attributes:
        name: name of the person.
        distance: distance between the face and the query.
        photo: key of the photo that the face was enrolled from.
        number: number of the face in the gallery.
    """

    name: str
    distance: float
    photo: str
    number: int


@dataclass(frozen=True)
class Described:
    """Description of a gallery's embeddings: their model and size."""

    embedder: Embedder
    size: int  # number of dimensions of an embedding

    def check(self, place: str, given: Embedder, size: int) -> None:
        """Raise a ModelMismatchError if embeddings of `size` dimensions from the model `given` don't match the gallery at `place`."""
        stored = self.embedder
        if stored.fingerprint != given.fingerprint:
            same = " (same name, but other settings or weights)"
            raise ModelMismatchError(
                f"gallery {place} belongs to the model {stored}, but these embeddings come from {given} and can't be compared"
                f"{same if stored.name == given.name else ''}. Use the gallery's model, or create another gallery for this model"
            )
        if stored.distance != given.distance:
            raise ModelMismatchError(
                f"gallery {place} was created with the distance {stored.distance}, but the metadata of its model {given} now has "
                f"the distance {given.distance}; restore the metadata, or use another gallery"
            )
        if self.size != size:
            raise ModelMismatchError(f"gallery {place} holds embeddings of {self.size} dimensions from {stored}; these have {size}")
