"""Face detectors for the option `detector=`: MTCNN, or a detection model with a face class."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import numpy as np

from zoo.artefacts.hub.reference import is_reference
from zoo.errors import InputError, UnknownNameError
from zoo.images.decoding import Image
from zoo.models.archive import load
from zoo.models.fingerprint import model_fingerprint
from zoo.models.model import Model
from zoo.tasks.face.detection.faces import Finder, Found, check_score

FACE = "face"  # name of the face class in a model with several classes


@dataclass(frozen=True, eq=False)
class ModelFinder:
    """Face detector based on a detection model. It returns no landmarks, so it can't be used with templates that need them."""

    model: Model
    threshold: float = 0.5  # minimum score of a face; the model itself drops boxes below its `score_threshold`

    def __post_init__(self) -> None:
        check_score("detector", self.threshold)
        if (task := self.model.config.task) != "detection":
            raise InputError(f"detector: this is a {task} model; expected a detection model with a {FACE!r} class")
        if len(self.model.classes) > 1 and FACE not in self.model.classes:
            raise InputError(
                f"detector: the model has no {FACE!r} class, but {len(self.model.classes)} others: {', '.join(self.model.classes[:8])}"
            )

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """All settings that the results depend on, as a JSON-ready dict."""
        return {"detector": "model", "fingerprint": model_fingerprint(self.model), "threshold": self.threshold}

    def __call__(self, image: Image) -> Found:
        """Detect the faces of an RGB image [H, W, 3]."""
        from zoo.prediction.predict import predict

        found: Any = next(iter(predict(self.model, image, device=str(self.model.device))))
        faces = np.array([name == FACE or len(self.model.classes) == 1 for name in found.names], bool) & (found.scores >= self.threshold)
        boxes, scores = np.asarray(found.boxes[faces], np.float32), np.asarray(found.scores[faces], np.float32)
        return Found(boxes, scores, np.full((len(scores), 5, 2), np.nan, np.float32))


def find_finder(detector: object) -> Finder:
    """Return the face detector for a value of the option `detector=`.

    The value is "mtcnn", or the folder of a saved detection model or of a training run. Both may be followed by settings
    ("mtcnn?min_size=40&threshold=0.8", "runs/faces?threshold=0.7"). A detection model and a `Finder` are accepted too.
    """
    if isinstance(detector, Model):
        return ModelFinder(detector)
    if isinstance(detector, str | Path):
        return _named(str(detector))
    if callable(detector) and hasattr(detector, "settings"):
        return cast(Finder, detector)
    raise InputError(f"detector is a {type(detector).__name__}; expected mtcnn, a folder, a detection model or a Finder")


def _named(text: str) -> Finder:
    place, _, settings = (text, "", "") if Path(text).expanduser().exists() else text.partition("?")
    if place == "mtcnn":
        from zoo.tasks.face.detection.mtcnn import MTCNN  # slow import

        return MTCNN(
            **_settings(text, place, settings, {"min_size": float, "threshold": float, "factor": float, "enlarge": int, "border": int})
        )
    if not is_reference(place) and not Path(place).expanduser().exists():
        raise InputError(f"detector is {text!r}; expected mtcnn, or the folder or hf:OWNER/NAME of a detection model with a {FACE!r} class")
    return ModelFinder(load(place), **_settings(text, "a detection model", settings, {"threshold": float}))


def _settings(text: str, whose: str, written: str, kinds: Mapping[str, type[int] | type[float]]) -> dict[str, Any]:
    """Parse the settings after the question mark of a detector value."""
    settings: dict[str, Any] = {}
    for name, value in parse_qsl(written, keep_blank_values=True):
        if name not in kinds:
            raise UnknownNameError(f"setting of {whose}:", name, kinds)
        try:
            settings[name] = kinds[name](value)
        except ValueError as error:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise InputError(f"detector {text!r}: {name} is {value!r}; expected {kind}, as in mtcnn?enlarge=2&threshold=0.8") from error
    return settings
