"""Identity of the model that computed a gallery's embeddings, with the distance and threshold for comparing them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import InputError
from zoo.tasks.face.embedding.distances import distance_of

if TYPE_CHECKING:
    from zoo.models.model import Model

DISTANCES = ("cosine", "euclidean")


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
        """Validate the distance and the threshold."""
        if self.distance not in DISTANCES:
            raise InputError(f"model {self.name}: the distance is {self.distance!r}; expected one of: {', '.join(DISTANCES)}")
        check_threshold(self.threshold, f"model {self.name}")

    def __str__(self) -> str:
        """Return the name and the fingerprint."""
        return f"{self.name} ({self.fingerprint})"

    @classmethod
    def of(cls, model: Model | Embedder) -> Embedder:
        """Return the identity of a model, derived from its weights, its preprocessing, and the distance and threshold in its metadata.

        Raises:
            InputError: the model isn't a face model.
        """
        if isinstance(model, cls):
            return model
        from zoo.models.fingerprint import embedding_fingerprint

        assert not isinstance(model, Embedder)
        if model.task != "face":
            raise InputError(f"a gallery needs a face model; {model.backbone_name} is a {model.task} model")
        distance, threshold = distance_of(model.metadata), model.metadata.get("threshold")
        return cls(embedding_fingerprint(model), model.backbone_name, distance, threshold)


def check_threshold(threshold: float | None, whose: str) -> None:
    """Raise an InputError unless a threshold is a valid distance or None. The message begins with `whose`."""
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        raise InputError(f"{whose}: the threshold is {threshold}; expected a distance, 0 or more")
