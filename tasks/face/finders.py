"""The finder that `detector=` names: MTCNN, or a detection model of the zoo that knows faces."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import numpy as np

from zoo.errors import InputError, UnknownNameError
from zoo.fingerprint import model_fingerprint
from zoo.model import Model, load
from zoo.tasks.face.finding import Finder, Found, Image

FACE = "face"  # the name of the class, where a model has several


@dataclass(frozen=True, eq=False)
class ModelFinder:
    """A detection model as a finder. It knows no landmarks: models whose faces are aligned by five points can't follow it.

    Attributes:
        model: of the task detection.
    """

    model: Model

    def __post_init__(self) -> None:
        """Check what it detects.

        Raises:
            InputError: it is of another task, or has several classes and none of them is "face".
        """
        if self.model.task != "detection":
            raise InputError(f"detector: the model is for the task {self.model.task}; expected one for detection, with a class {FACE!r}")
        if len(self.model.classes) > 1 and FACE not in self.model.classes:
            raise InputError(
                f"detector: none of the model's {len(self.model.classes)} classes is {FACE!r}: {', '.join(self.model.classes[:8])}"
            )

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that decides its answers."""
        return {"detector": "model", "fingerprint": model_fingerprint(self.model)}

    def __call__(self, image: Image) -> Found:
        """Return the faces of an RGB picture [H, W, 3]."""
        from zoo.prediction import predict

        found: Any = next(iter(predict(self.model, image, device=str(self.model.device))))
        faces = np.array([name == FACE or len(self.model.classes) == 1 for name in found.names], bool)
        boxes, scores = np.asarray(found.boxes[faces], np.float32), np.asarray(found.scores[faces], np.float32)
        return Found(boxes, scores, np.full((len(scores), 5, 2), np.nan, np.float32))


def find_finder(detector: object) -> Finder:
    """Return a finder.

    Args:
        detector: "mtcnn", also with settings of `MTCNN` ("mtcnn?min_size=40&threshold=0.8"), the folder of a saved detection model or of
            the run that made it, such a model, or a finder.

    Raises:
        InputError: none of these, a model that doesn't detect faces, or a setting that can't be meant.
        UnknownNameError: a setting that MTCNN doesn't have.
    """
    if isinstance(detector, Model):
        return ModelFinder(detector)
    if isinstance(detector, str) and detector.partition("?")[0] == "mtcnn":
        return _mtcnn(detector)
    if isinstance(detector, str | Path):
        if not Path(detector).expanduser().exists():
            raise InputError(f"detector is {str(detector)!r}; expected mtcnn, or the folder of a detection model with a class {FACE!r}")
        return ModelFinder(load(detector))
    if callable(detector) and hasattr(detector, "settings"):
        return cast(Finder, detector)
    raise InputError(f"detector is a {type(detector).__name__}; expected mtcnn, a folder, a detection model or a finder")


def _mtcnn(text: str) -> Finder:
    from zoo.tasks.face.mtcnn import MTCNN  # brings its networks

    kinds: dict[str, type[int] | type[float]] = {"min_size": float, "threshold": float, "factor": float, "enlarge": int, "border": int}
    settings: dict[str, Any] = {}
    for name, value in parse_qsl(text.partition("?")[2], keep_blank_values=True):
        if name not in kinds:
            raise UnknownNameError("setting of mtcnn:", name, kinds)
        try:
            settings[name] = kinds[name](value)
        except ValueError as error:
            raise InputError(f"detector {text!r}: {name} is {value!r}; expected a number, as in mtcnn?min_size=40&threshold=0.8") from error
    return MTCNN(**settings)
