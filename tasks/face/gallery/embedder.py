"""Which model embeddings come from, and how they are compared: what a gallery belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError
from zoo.tasks.face.embedding.distances import distance_of
from zoo.tasks.face.gallery.errors import ModelMismatchError

if TYPE_CHECKING:
    from zoo.models.model import Model

DISTANCES = ("cosine", "euclidean")


@dataclass(frozen=True)
class Embedder:
    """The maker of embeddings.

    Attributes:
        fingerprint: of what embeddings depend on (see `fingerprint.embedding_fingerprint`); those of two fingerprints are never compared.
        name: what people know it by.
        distance: "cosine", which is 1 − cosine (0 to 2), or "euclidean", of the embeddings as they are.
        threshold: the largest distance at which two faces are taken for one person; None where it isn't known.
        formerly: another fingerprint of the same model, by which galleries of earlier versions know it.
    """

    fingerprint: str
    name: str
    distance: str = "cosine"
    threshold: float | None = None
    formerly: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what can't be compared by.

        Raises:
            InputError: an unknown distance, or a threshold that is no distance.
        """
        if self.distance not in DISTANCES:
            raise InputError(f"model {self.name}: its distance is {self.distance!r}; expected one of: {', '.join(DISTANCES)}")
        check_threshold(self.threshold, f"model {self.name}")

    def __str__(self) -> str:
        """Return name and fingerprint."""
        return f"{self.name} ({self.fingerprint})"

    @classmethod
    def of(cls, model: Model | Embedder) -> Embedder:
        """Return the identity of a model, by its numbers, its preprocessing and what its metadata says of comparing.

        Raises:
            InputError: a model of another task.
        """
        if isinstance(model, cls):
            return model
        from zoo.models.fingerprint import embedding_fingerprint, model_fingerprint

        assert not isinstance(model, Embedder)
        if model.task != "face":
            raise InputError(f"a gallery needs a model of the task face; {model.backbone_name} is one of {model.task}")
        distance, threshold = distance_of(model.metadata), model.metadata.get("threshold")
        return cls(embedding_fingerprint(model), model.backbone_name, distance, threshold, model_fingerprint(model))

    def to_dict(self) -> dict[str, Any]:
        """Return it as a gallery keeps it, JSON-ready."""
        return {"fingerprint": self.fingerprint, "name": self.name, "distance": self.distance, "threshold": self.threshold}


def check_threshold(threshold: float | None, whose: str) -> None:
    """Refuse a threshold that is no distance; None is right.

    Raises:
        InputError: it is negative or not a finite number.
    """
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        raise InputError(f"{whose}: the threshold is {threshold}; expected a distance, 0 or more")


def check_same(place: str, stored: Embedder, given: Embedder, stored_size: int, given_size: int) -> None:
    """Refuse embeddings of another model than a gallery's.

    Args:
        place: the gallery.
        stored: the model that it belongs to.
        given: the model of the embeddings.
        stored_size: numbers per embedding in the gallery.
        given_size: numbers per embedding.

    Raises:
        ModelMismatchError: naming both.
    """
    if stored.fingerprint not in (given.fingerprint, given.formerly):
        same = " (also if it is the same one: other settings, other numbers after training, or an early zoo's gallery)"
        raise ModelMismatchError(
            f"gallery {place} belongs to the model {stored}, and these embeddings come from {given}: distances between the two mean nothing"
            f"{same if stored.name == given.name else ''}. Use the gallery's own model, or another gallery for this one"
        )
    if stored.distance != given.distance:
        raise ModelMismatchError(
            f"gallery {place} was made with the distance {stored.distance}, and the same model {given} now says {given.distance}; "
            "use the metadata that the model had, or another gallery"
        )
    if stored_size != given_size:
        raise ModelMismatchError(f"gallery {place} holds embeddings of {stored_size} numbers, by {stored}; these have {given_size}")
