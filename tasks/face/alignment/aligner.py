"""Find and align the faces of an image for a model, and pair the model's embeddings with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ImageError, InputError
from zoo.task.model import TaskModel
from zoo.tasks.face.alignment.templates import align, template_points
from zoo.tasks.face.detection.faces import Finder, Found, Image, Wanted
from zoo.tasks.face.detection.finders import ModelFinder, find_finder
from zoo.tasks.face.prediction.faces import Faces

BOX = "facenet"  # template for models without one: the box plus a margin


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """Aligned faces of one image.

    Attributes:
        key: file or name of the image.
        image: [H, W, 3] uint8, RGB, the whole image.
        found: boxes, scores and landmarks of the faces.
        crops: one aligned crop per face.
        embedding_size: length D of the model's embeddings; needed for the shape [0, D] of an image without a face.
    """

    key: str
    image: Image
    found: Found
    crops: Sequence[Image]
    embedding_size: int

    def prediction(self, answers: Sequence[Any]) -> Faces:
        """Return the faces with their embeddings, one answer [D] per crop."""
        rows: NDArray[np.float32] = np.stack(answers) if answers else np.empty((0, self.embedding_size), np.float32)
        return Faces(self.key, self.image, self.found.boxes, self.found.scores, self.found.landmarks, rows)


@dataclass(frozen=True)
class Looking:
    """Callable that finds the faces of an image and crops them for a model.

    Attributes:
        finder: face detector.
        wanted: which of the detected faces are kept.
        template: alignment template of the crops, one of `templates.TEMPLATES`.
        size_hw: height and width of a crop in pixels.
        embedding_size: length of the model's embeddings; 0 where no model embeds the crops.
    """

    finder: Finder
    wanted: Wanted
    template: str
    size_hw: tuple[int, int]
    embedding_size: int = 0

    def __post_init__(self) -> None:
        """Reject a finder that can't serve the template, before any image is read.

        Raises:
            InputError: the finder returns boxes only, and the template needs five landmarks.
            UnknownNameError: there is no such template.
        """
        if template_points(self.template, self.size_hw) is not None and isinstance(self.finder, ModelFinder):
            raise InputError(
                f"detector: the model's template {self.template} aligns faces by five landmarks, and a detection model finds boxes only; "
                'use "mtcnn"'
            )

    def __call__(self, image: Image, key: str) -> FoundFaces:
        """Return the aligned faces of an RGB image [H, W, 3].

        Args:
            image: [H, W, 3] uint8, RGB.
            key: file or name of the image, for messages.

        Raises:
            ImageError: the finder's result is invalid, or a face can't be aligned: its landmarks are unknown or coincide.
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
    """Return the `Looking` for a model; a model without a template gets the box plus a margin.

    Args:
        model: face model.
        detector: face detector, as in `find_finder`.
        faces: which faces are kept, as in `Wanted.which`.

    Raises:
        InputError: the detector or the choice of faces is invalid, or the detector doesn't suit the model.
    """
    size, preprocess = model.config.options["embedding_size"], model.preprocess
    return Looking(find_finder(detector), Wanted(cast(Any, faces)), preprocess.alignment or BOX, preprocess.size_hw, size)
