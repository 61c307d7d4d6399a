"""The faces of a picture, found and aligned for a model, and its embeddings put beside them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ImageError, InputError
from zoo.models.model import Model
from zoo.tasks.face.alignment.templates import align, template_points
from zoo.tasks.face.detection.faces import Finder, Found, Image, Wanted
from zoo.tasks.face.detection.finders import ModelFinder, find_finder
from zoo.tasks.face.prediction.faces import Faces

BOX = "facenet"  # the template of models that have none: the box and a margin


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of one picture.

    Attributes:
        key: where the picture came from.
        image: [H, W, 3] uint8, RGB.
        found: where they are.
        crops: one of each, aligned.
        embedding_size: of a picture without a face too.
    """

    key: str
    image: Image
    found: Found
    crops: Sequence[Image]
    embedding_size: int

    def prediction(self, answers: Sequence[Any]) -> Faces:
        """Put the embeddings beside the faces."""
        rows: NDArray[np.float32] = np.stack(answers) if answers else np.empty((0, self.embedding_size), np.float32)
        return Faces(self.key, self.image, self.found.boxes, self.found.scores, self.found.landmarks, rows)


@dataclass(frozen=True)
class Looking:
    """How pictures are looked at.

    Attributes:
        finder: finds faces.
        wanted: which of them.
        template: what they are aligned to; one of `alignment.TEMPLATES`.
        size_hw: of a crop.
        embedding_size: of the model; 0 where none is to answer.
    """

    finder: Finder
    wanted: Wanted
    template: str
    size_hw: tuple[int, int]
    embedding_size: int = 0

    def __post_init__(self) -> None:
        """Refuse a finder that can't serve the template, before any picture is read.

        Raises:
            InputError: it finds boxes alone, and the template needs five points.
            UnknownNameError: no such template.
        """
        if template_points(self.template, self.size_hw) is not None and isinstance(self.finder, ModelFinder):
            raise InputError(
                f"detector: the model's faces are aligned to the template {self.template} by five points, and a detection model finds "
                'boxes alone; take "mtcnn"'
            )

    def __call__(self, image: Image, key: str) -> FoundFaces:
        """Find and align.

        Raises:
            ImageError: the finder's answer can't be meant, or a face can't be aligned: its points are unknown, or all in one place.
        """
        try:
            found = self.wanted.of(self.finder(image), (image.shape[0], image.shape[1]))
            crops = [
                align(image, points, box, self.template, self.size_hw) for points, box in zip(found.landmarks, found.boxes, strict=True)
            ]
        except InputError as error:
            raise ImageError(key, str(error), "no-face") from error
        return FoundFaces(key, image, found, crops, self.embedding_size)


def looking(model: Model, detector: object, faces: str) -> Looking:
    """Return how a model looks at pictures; one whose faces aren't aligned gets the box and a margin.

    Args:
        model: for faces.
        detector: as in `find_finder`.
        faces: as in `Wanted`.

    Raises:
        InputError: the detector, the choice of faces, or that the two don't suit the model.
    """
    size, preprocess = model.config.options["embedding_size"], model.preprocess
    return Looking(find_finder(detector), Wanted(cast(Any, faces)), preprocess.alignment or BOX, preprocess.size_hw, size)
