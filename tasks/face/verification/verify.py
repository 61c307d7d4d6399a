"""Whether two faces are of one person: the distance of their embeddings, a threshold, and a band around it where neither is sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from zoo.errors import InputError
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.prediction.sources import Source
from zoo.tasks.face.embedding.distances import distance_of, distances
from zoo.tasks.face.prediction.faces import Faces
from zoo.tasks.face.verification.decision import Answer, decide


@dataclass(frozen=True)
class Verdict:
    """What was found out about two photos.

    Attributes:
        answer: "same" where the distance is below the band, "different" above it, else "undecided".
        distance: between the two embeddings.
        metric: "cosine" (1 less the cosine) or "euclidean", as the model's metadata says.
        threshold: at most so far apart are two pictures of one person.
        threshold_from: who says so.
        undecided: the band around it, lower and upper end.
        a: key, box and score of the one face.
        b: of the other.
    """

    answer: Answer
    distance: float
    metric: str
    threshold: float
    threshold_from: str
    undecided: tuple[float, float]
    a: Mapping[str, Any]
    b: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return asdict(self)


def verify(
    model: Model, a: Source, b: Source, *, threshold: float | None = None, detector: object = None, faces: str = "one", device: str = "auto"
) -> Verdict:
    """Compare the faces of two photos.

    Args:
        model: for faces.
        a: a picture, as `zoo.predict` takes it.
        b: another.
        threshold: the largest distance of one person; None for the model's own.
        detector: as for `zoo.predict`.
        faces: "one" to refuse a photo with several; "central" or "largest" to take the main one.
        device: "auto" or a torch device.

    Raises:
        InputError: a photo without a face, or with several; no threshold anywhere.
        ImageError: a photo can't be read.
    """
    limit, said = _threshold(model, threshold)
    metric = distance_of(model.metadata)
    first, second = (_one(model, source, detector, faces, device) for source in (a, b))
    apart = float(distances(first.embeddings[0], second.embeddings, metric)[0])
    answer, band = decide(apart, limit)
    return Verdict(answer, apart, metric, limit, said, band, _about(first), _about(second))


def _threshold(model: Model, given: float | None) -> tuple[float, str]:
    """Return the threshold and where it comes from."""
    if given is not None:
        if not given > 0:
            raise InputError(f"threshold is {given}; expected a distance above 0")
        return given, "given"
    own = model.metadata.get("threshold")
    if own is None:
        raise InputError(
            "the model says no threshold of its own; give one (--threshold), a distance, or train the model with --val. zoo eval --json "
            "finds one as details.threshold, a similarity: the cosine, whose distance is 1 less it, or the Euclidean distance with a minus"
        )
    whence = "its validation data" if "training" in model.metadata else model.config.weights or model.backbone_name
    return float(own), f"the model ({whence})"


def _one(model: Model, source: Source, detector: object, faces: str, device: str) -> Faces:
    """Return the one face of a photo."""
    found = list(predict(model, source, detector=detector, faces="all" if faces == "one" else faces, device=device))
    if len(found) != 1:
        raise InputError(f"{source} is {len(found)} pictures; expected one photo")
    (photo,) = found
    assert isinstance(photo, Faces), "the model is for faces"
    if len(photo) == 0:
        raise InputError(f"{photo.key}: no face was found in it; a face of 20 pixels or more is needed, upright and not cut off")
    if len(photo) > 1:
        raise InputError(
            f"{photo.key}: shows {len(photo)} faces, and one is compared; cut it out, or take the main one (--faces central, or largest)"
        )
    return photo


def _about(photo: Faces) -> dict[str, Any]:
    return {"key": photo.key, "box": photo.boxes[0].tolist(), "score": float(photo.scores[0])}
