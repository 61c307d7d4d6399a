"""Identity of the model that a gallery's embeddings come from, and how they are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError
from zoo.tasks.face.embedding.distances import distance_of
from zoo.tasks.face.gallery.errors import ModelMismatchError

if TYPE_CHECKING:
    from zoo.models.model import Model

DISTANCES = ("cosine", "euclidean")


@dataclass(frozen=True)
class Embedder:
    """Identity of an embedding model.

    Attributes:
        fingerprint: fingerprint of everything that the embeddings depend on (see `fingerprint.embedding_fingerprint`); embeddings with
            different fingerprints are never compared.
        name: human-readable name of the model.
        distance: "cosine", which is 1 − cosine (0 to 2), or "euclidean", between the unmodified embeddings.
        threshold: largest distance at which two faces count as the same person; None if unknown.
    """

    fingerprint: str
    name: str
    distance: str = "cosine"
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Validate the distance and the threshold.

        Raises:
            InputError: the distance is unknown, or the threshold is negative or not finite.
        """
        if self.distance not in DISTANCES:
            raise InputError(f"model {self.name}: its distance is {self.distance!r}; expected one of: {', '.join(DISTANCES)}")
        check_threshold(self.threshold, f"model {self.name}")

    def __str__(self) -> str:
        """Return the name and the fingerprint."""
        return f"{self.name} ({self.fingerprint})"

    @classmethod
    def of(cls, model: Model | Embedder) -> Embedder:
        """Return the identity of a model, from its weights, its preprocessing and the comparison settings in its metadata.

        Raises:
            InputError: the model is for another task.
        """
        if isinstance(model, cls):
            return model
        from zoo.models.fingerprint import embedding_fingerprint

        assert not isinstance(model, Embedder)
        if model.task != "face":
            raise InputError(f"a gallery needs a model for the task face; {model.backbone_name} is for {model.task}")
        distance, threshold = distance_of(model.metadata), model.metadata.get("threshold")
        return cls(embedding_fingerprint(model), model.backbone_name, distance, threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return the identity as a gallery stores it, JSON-ready."""
        return {"fingerprint": self.fingerprint, "name": self.name, "distance": self.distance, "threshold": self.threshold}


def check_threshold(threshold: float | None, whose: str) -> None:
    """Raise an error unless a threshold is a valid distance or None.

    Raises:
        InputError: the threshold is negative or not finite.
    """
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        raise InputError(f"{whose}: the threshold is {threshold}; expected a distance, 0 or more")


def check_same(place: str, stored: Embedder, given: Embedder, stored_size: int, given_size: int) -> None:
    """Raise an error if embeddings come from another model than a gallery's.

    Args:
        place: location of the gallery, for the message.
        stored: model that the gallery belongs to.
        given: model of the embeddings.
        stored_size: dimensions of the gallery's embeddings.
        given_size: dimensions of the embeddings.

    Raises:
        ModelMismatchError: the models, distances or dimensions differ; the message names both.
    """
    if stored.fingerprint != given.fingerprint:
        same = " (same name, but other settings or other weights)"
        raise ModelMismatchError(
            f"gallery {place} belongs to the model {stored}, but these embeddings come from {given}; the two can't be compared"
            f"{same if stored.name == given.name else ''}. Use the gallery's model, or another gallery for this model"
        )
    if stored.distance != given.distance:
        raise ModelMismatchError(
            f"gallery {place} was created with the distance {stored.distance}, but the metadata of the same model {given} now has "
            f"{given.distance}; restore the metadata, or use another gallery"
        )
    if stored_size != given_size:
        raise ModelMismatchError(f"gallery {place} holds embeddings of {stored_size} dimensions, from {stored}; these have {given_size}")
