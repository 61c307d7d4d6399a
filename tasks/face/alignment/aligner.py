"""Detect and align the faces of an image: the templates, the crops, and their combination with a model's embeddings.

A template defines how faces are cropped; a model must use the template of its training images. "arcface" and "dlib" consist of five target
points. The five landmarks of a face are mapped to them by the least-squares similarity transform (rotation, scale, translation). "facenet"
crops the box of a face with a margin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from zoo.errors import ImageError, InputError, UnknownNameError
from zoo.images.decoding import Image
from zoo.task.building import TaskModel
from zoo.tasks.face.detection.faces import Finder, Found, Wanted
from zoo.tasks.face.detection.finders import ModelFinder, find_finder
from zoo.tasks.face.prediction.faces import Faces

Floats = NDArray[np.float64]

# InsightFace's five target points in a crop of 112×112 pixels (Deng et al. 2019, ArcFace; `arcface_src` of its face_align.py)
_ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])
_ARCFACE_SIDE = 112
# the corresponding points in dlib's crops, as fractions of the face box; the crop adds a quarter of the box's side on every side
_DLIB = np.array([(0.22549, 0.215974), (0.75476, 0.215974), (0.490127, 0.515625), (0.254149, 0.780233), (0.726104, 0.780233)])
_DLIB_PADDING = 0.25
_FACENET_MARGIN = 14 / 160  # fraction of the crop's side, as in the evaluation of facenet-pytorch's networks
TEMPLATES = ("arcface", "dlib", "facenet")


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
        if template_points(self.template, self.size_hw) is not None and isinstance(self.finder, ModelFinder):
            raise InputError(
                f"detector: the model's template {self.template} aligns faces by five landmarks, but a detection model returns only boxes; "
                'use "mtcnn"'
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the crops of an image depend on, as a JSON-ready dict."""
        return {**self.finder.settings, "template": self.template, "size_hw": list(self.size_hw), "faces": asdict(self.wanted)}

    def __call__(self, image: Image, key: str) -> FoundFaces:
        """Detect and align the faces of an RGB image [H, W, 3]; raise an `ImageError` if the detector returns an invalid result."""
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
    return Looking(find_finder(detector), Wanted(cast(Any, faces)), preprocess.alignment or "facenet", preprocess.size_hw, size)


def template_points(template: str, size_hw: tuple[int, int]) -> Floats | None:
    """Return a template's five target points for a crop size, [5, 2] xy in pixels of the crop; None if the template needs only the box."""
    side = np.array([size_hw[1], size_hw[0]], np.float64)
    if template == "arcface":
        return np.asarray(_ARCFACE * side / _ARCFACE_SIDE)
    if template == "dlib":
        return np.asarray((_DLIB + _DLIB_PADDING) / (1 + 2 * _DLIB_PADDING) * side - 0.5)
    if template == "facenet":
        return None
    raise UnknownNameError("template of faces", template, TEMPLATES)


def align(image: Image, landmarks: NDArray[np.float32], box: NDArray[np.float32], template: str, size_hw: tuple[int, int]) -> Image:
    """Return the aligned crop of a face in an image [H, W, 3], RGB, from its landmarks [5, 2] xy and its box [4] xyxy in pixels.

    Pixels outside the image are black, except for "facenet", which clips the box to the image.
    """
    points = template_points(template, size_hw)
    if points is None:
        return _margin_crop(image, box, size_hw)
    if not np.isfinite(landmarks).all():
        raise InputError(
            f"the template {template} aligns a face by five landmarks, but this detector returns only boxes; "
            'use "mtcnn", or a model whose template is "facenet"'
        )
    return warp(image, similarity(landmarks, points), size_hw)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Floats:
    """Return the least-squares similarity transform [2, 3] from source points to target points, both [N, 2] xy.

    Its first two columns are a rotation without reflection, multiplied by a scale; the last column is the translation. Umeyama 1991,
    "Least-squares estimation of transformation parameters between two point patterns", equations 39 to 43.
    """
    first, second = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, aim = first.mean(0), second.mean(0)
    spread = ((first - middle) ** 2).sum()
    if not spread > 0:
        raise InputError("the face can't be aligned, because its five landmarks coincide")
    left, sizes, right = np.linalg.svd((second - aim).T @ (first - middle))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    turn = left @ np.diag(signs) @ right * (sizes * signs).sum() / spread
    return np.asarray(np.hstack([turn, (aim - turn @ middle)[:, None]]))


def warp(image: Image, transform: Floats, size_hw: tuple[int, int]) -> Image:
    """Crop an image by a transform [2, 3] from pixels of the image to pixels of the crop, with bilinear interpolation.

    As in dlib, the image is halved repeatedly first if the crop is less than half its scale, to avoid aliasing.
    """
    matrix = np.asarray(transform, np.float64).copy()
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    while scale < 0.5 and min(image.shape[:2]) > 1:
        image = np.asarray(cv2.pyrDown(image), np.uint8)
        matrix[:, :2] *= 2  # pixel x of the halved image corresponds to pixel 2x of the full image
        scale *= 2
    return np.asarray(cv2.warpAffine(image, matrix, (size_hw[1], size_hw[0]), flags=cv2.INTER_LINEAR), np.uint8)


def _margin_crop(image: Image, box: NDArray[np.float32], size_hw: tuple[int, int]) -> Image:
    """Crop a box with a margin and resize the crop, as facenet-pytorch's `extract_face` does."""
    height, width = image.shape[:2]
    margin = (np.asarray(box[2:], np.float64) - box[:2]) * _FACENET_MARGIN / (1 - _FACENET_MARGIN) / 2
    left, top = (int(max(side, 0)) for side in np.asarray(box[:2], np.float64) - margin)
    right, bottom = (int(min(side, limit)) for side, limit in zip(box[2:] + margin, (width, height), strict=True))
    if right <= left or bottom <= top:
        raise InputError(f"the box of the face {[round(float(side), 1) for side in box]} lies outside the image of {width}×{height} pixels")
    piece = PILImage.fromarray(image[top:bottom, left:right])
    return np.asarray(piece.resize((size_hw[1], size_hw[0]), PILImage.Resampling.BILINEAR), np.uint8)
