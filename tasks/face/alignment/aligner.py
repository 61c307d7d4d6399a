"""Detect and align the faces of an image for a model, and combine them with the model's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ImageError, InputError
from zoo.task.building import TaskModel
from zoo.tasks.face.alignment.templates import align, template_points
from zoo.tasks.face.detection.faces import Finder, Found, Image, Wanted
from zoo.tasks.face.detection.finders import ModelFinder, find_finder
from zoo.tasks.face.prediction.faces import Faces

BOX = "facenet"  # default template of models without one: crops the box plus a margin


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """Aligned faces of one image."""

    key: str
    image: Image
    found: Found
    crops: Sequence[Image]
    embedding_size: int  # length D of the model's embeddings, from which the shape [0, D] for an image without faces is derived

    def prediction(self, answers: Sequence[Any]) -> Faces:
        """Return the result for the image from the embeddings of its crops, [D] each."""
        rows: NDArray[np.float32] = np.stack(answers) if answers else np.empty((0, self.embedding_size), np.float32)
        return Faces(self.key, self.image, self.found.boxes, self.found.scores, self.found.landmarks, rows)


@dataclass(frozen=True)
class Looking:
    """Face detector and aligner: detects the faces of an image and crops them for a model."""

    finder: Finder
    wanted: Wanted
    template: str
    size_hw: tuple[int, int]  # height and width of a crop in pixels
    embedding_size: int = 0  # length of the model's embeddings; 0 if the crops are not embedded

    def __post_init__(self) -> None:
        """Reject a detector without landmarks if the template needs them, before any image is read."""
        if template_points(self.template, self.size_hw) is not None and isinstance(self.finder, ModelFinder):
            raise InputError(
                f"detector: the model's template {self.template} aligns faces by five landmarks, but a detection model returns only boxes; "
                'use "mtcnn"'
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the crops of an image depend on, as a JSON-ready dict."""
        crops = {"template": self.template, "size_hw": list(self.size_hw), "faces": asdict(self.wanted)}
        return {**self.finder.settings, **crops}

    def __call__(self, image: Image, key: str) -> FoundFaces:
        """Detect and align the faces of an RGB image [H, W, 3].

        Raises:
            ImageError: the detector's result is invalid, or a face can't be aligned because its landmarks are unknown or coincide.
        """
        try:
            found = self.wanted.of(self.finder(image), (image.shape[0], image.shape[1]))
            crops = [
                align(image, points, box, self.template, self.size_hw) for points, box in zip(found.landmarks, found.boxes, strict=True)
            ]
        except InputError as error:
            raise ImageError(key, str(error), "no-face") from error
        return FoundFaces(key, image, found, crops, self.embedding_size)


def looking(model: TaskModel, detector: object, faces: str) -> Looking:
    """Return the detector and aligner for a model. Without an alignment template, the crop is the box plus a margin."""
    size, preprocess = model.config.options["embedding_size"], model.preprocess
    return Looking(find_finder(detector), Wanted(cast(Any, faces)), preprocess.alignment or BOX, preprocess.size_hw, size)
