"""Find and align the faces of an image for a model, and pair the model's embeddings with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """Aligned faces of one image."""

    key: str
    image: Image
    found: Found
    crops: Sequence[Image]
    embedding_size: int  # length D of the model's embeddings; needed for the shape [0, D] of an image without a face

    def prediction(self, answers: Sequence[Any]) -> Faces:
        """Return the faces with their embeddings, one answer [D] per crop."""
        rows: NDArray[np.float32] = np.stack(answers) if answers else np.empty((0, self.embedding_size), np.float32)
        return Faces(self.key, self.image, self.found.boxes, self.found.scores, self.found.landmarks, rows)


@dataclass(frozen=True)
class Looking:
    """Callable that finds the faces of an image and crops them for a model."""

    finder: Finder
    wanted: Wanted
    template: str
    size_hw: tuple[int, int]  # height and width of a crop in pixels
    embedding_size: int = 0  # length of the model's embeddings; 0 where no model embeds the crops

    def __post_init__(self) -> None:
        """Reject a finder that can't serve the template, before any image is read."""
        if template_points(self.template, self.size_hw) is not None and isinstance(self.finder, ModelFinder):
            raise InputError(
                f"detector: the model's template {self.template} aligns faces by five landmarks, and a detection model finds boxes only; "
                'use "mtcnn"'
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the crops depend on, apart from the image; JSON-ready."""
        crops = {"template": self.template, "size_hw": list(self.size_hw), "faces": asdict(self.wanted)}
        return {**self.finder.settings, **crops}

    def __call__(self, image: Image, key: str) -> FoundFaces:
        """Return the aligned faces of an RGB image [H, W, 3].

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
    """Return the `Looking` for a model; a model without a template gets the box plus a margin."""
    size, preprocess = model.config.options["embedding_size"], model.preprocess
    return Looking(find_finder(detector), Wanted(cast(Any, faces)), preprocess.alignment or BOX, preprocess.size_hw, size)
