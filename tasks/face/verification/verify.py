"""Verification of two faces: the distance between their embeddings is compared with a threshold and an undecided band around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.prediction.sources import Source
from zoo.task.operating import OPERATING_POINT
from zoo.tasks.face.embedding.distances import Answer, decide, distance_of, distances
from zoo.tasks.face.prediction.faces import Faces


@dataclass(frozen=True)
class Verdict:
    """Result of comparing two photos."""

    answer: Answer  # "same" if the distance is below the undecided band, "different" if above it, otherwise "undecided"
    distance: float  # distance between the two embeddings
    metric: str  # distance metric from the model's metadata: "cosine" (1 − cosine) or "euclidean"
    threshold: float  # largest distance at which two photos count as the same person
    threshold_from: str  # source of the threshold: "given", or the model that it was stored with
    undecided: tuple[float, float]  # lower and upper end of the undecided band around the threshold
    a: Mapping[str, Any]  # first face: key of the photo, box and score
    b: Mapping[str, Any]  # second face, with the same entries


def verify(model: Model, a: Source, b: Source, *, threshold: float | None = None, detector: object = None, faces: str = "one") -> Verdict:
    """Compare the faces in two photos.

    Args:
        model: face model.
        a: first photo, in any form that `zoo.predict` accepts.
        b: second photo.
        threshold: largest distance at which two faces count as the same person; None for the threshold in the model's metadata.
        detector: face detector, as for `zoo.predict`.
        faces: "one" to reject photos with several faces; "central" or "largest" to use only the central or the largest face.
    """
    limit, source = _threshold(model, threshold)
    metric = distance_of(model.metadata)
    first, second = (_one(model, photo, detector, faces) for photo in (a, b))
    apart = float(distances(first.embeddings[0], second.embeddings, metric)[0])
    answer, band = decide(apart, limit)
    return Verdict(answer, apart, metric, limit, source, band, _about(first), _about(second))


def _threshold(model: Model, given: float | None) -> tuple[float, str]:
    """Return the threshold and a description of its source."""
    if given is not None:
        if not given > 0:
            raise InputError(f"threshold is {given}; expected a distance above 0")
        return given, "given"
    own = model.metadata.get("threshold")
    if own is None:
        raise InputError(
            "the model has no threshold; pass a distance (--threshold), choose one with zoo tune, or train the model with --val. zoo eval "
            "--json reports a threshold as details.threshold, which is a similarity: the cosine (its distance is 1 − cosine) or the "
            "negative Euclidean distance"
        )
    if OPERATING_POINT in model.metadata:
        return float(own), f"the model (zoo tune, {model.metadata[OPERATING_POINT]['target']})"
    origin = "its validation data" if "training" in model.metadata else model.config.weights or model.backbone_name
    return float(own), f"the model ({origin})"


def _one(model: Model, source: Source, detector: object, faces: str) -> Faces:
    """Return the one face of a photo."""
    found = list(predict(model, source, detector=detector, faces="all" if faces == "one" else faces))
    if len(found) != 1:
        name = str(source) if isinstance(source, str | Path) else "the source"
        raise InputError(f"{name} holds {len(found)} images; expected one")
    (photo,) = found
    assert isinstance(photo, Faces), "not a face model"
    if len(photo) == 0:
        raise InputError(f"{photo.key}: no face was found; the face must be upright, at least 20 pixels in size and not cut off")
    if len(photo) > 1:
        raise InputError(
            f"{photo.key} shows {len(photo)} faces; expected one. Crop it, or use only the main face (--faces central or --faces largest)"
        )
    return photo


def _about(photo: Faces) -> dict[str, Any]:
    return {"key": photo.key, "box": photo.boxes[0].tolist(), "score": float(photo.scores[0])}
