"""Contract of a gallery's stores: the records that they accept and return, and the identity of the model.

The two stores, `SqliteStore` and `PostgresStore`, have the same methods. Each method is one transaction. If a method raises a GalleryError,
the gallery is unchanged, except that `remove` may have deleted faces without overwriting them. There is no gallery until the first
enrolment; until then, all methods except `add` raise a MissingGalleryError. The search is exact in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.task.operating import THRESHOLDS
from zoo.tasks.face.embedding.distances import distance_of
from zoo.tasks.face.embedding.options import DistanceName
from zoo.tasks.face.gallery.errors import ModelMismatchError

if TYPE_CHECKING:
    from zoo.models.model import Model

Vectors = NDArray[np.float32]
Quality = Mapping[str, float | None]


@dataclass(frozen=True)
class Embedder:
    """Identity of an embedding model.

    Attributes:
        fingerprint: hash of everything that the embeddings depend on (see `fingerprint.embedding_fingerprint`). Embeddings with different
            fingerprints are never compared.
        name: human-readable name of the model.
        distance: "cosine" for 1 − cosine (0 to 2), or "euclidean" for the distance between the unmodified embeddings.
        threshold: largest distance at which two faces count as the same person; None if unknown.
    """

    fingerprint: str
    name: str
    distance: str = "cosine"
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.distance not in get_args(DistanceName):
            raise InputError(f"model {self.name}: the distance is {self.distance!r}; expected one of: {', '.join(get_args(DistanceName))}")
        check_threshold(self.threshold, f"model {self.name}")

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint})"

    @classmethod
    def of(cls, model: Model | Embedder) -> Embedder:
        """Return the identity of a model, derived from its weights, its preprocessing, and the distance and threshold in its metadata.

        Raises:
            InputError: the model isn't a face model.
        """
        if isinstance(model, Embedder):
            return model
        from zoo.models.fingerprint import embedding_fingerprint

        if model.task != "face":
            raise InputError(f"a gallery needs a face model; {model.backbone_name} is a {model.task} model")
        distance, threshold = distance_of(model.metadata), model.metadata.get("threshold")
        return cls(embedding_fingerprint(model), model.backbone_name, distance, threshold)


def identification_threshold(model: Model | Embedder | None) -> float | None:
    """Return the threshold of identification that `zoo.tune` stored with a model; None if there is none."""
    if model is None or isinstance(model, Embedder):
        return None
    found = (model.metadata.get(THRESHOLDS) or {}).get("identification")
    check_threshold(found, f"model {model.backbone_name}, identification")
    return None if found is None else float(found)


def check_threshold(threshold: float | None, whose: str) -> None:
    """Raise an InputError unless a threshold is a valid distance or None. The message begins with `whose`."""
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        raise InputError(f"{whose}: the threshold is {threshold}; expected a distance, 0 or more")


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
