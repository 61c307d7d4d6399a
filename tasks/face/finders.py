"""The finder that `detector=` names: MTCNN, or a detection model of the zoo that knows faces."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from zoo.errors import InputError
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
        detector: "mtcnn", the folder of a saved detection model or of the run that made it, such a model, or a finder.

    Raises:
        InputError: none of these, or a model that doesn't detect faces.
    """
    if isinstance(detector, Model):
        return ModelFinder(detector)
    if detector == "mtcnn":
        from zoo.tasks.face.mtcnn import MTCNN

        return MTCNN()
    if isinstance(detector, str | Path):
        if not Path(detector).expanduser().exists():
            raise InputError(f"detector is {str(detector)!r}; expected mtcnn, or the folder of a detection model with a class {FACE!r}")
        return ModelFinder(load(detector))
    if callable(detector) and hasattr(detector, "settings"):
        return cast(Finder, detector)
    raise InputError(f"detector is a {type(detector).__name__}; expected mtcnn, a folder, a detection model or a finder")
