"""From a face in a picture to the crop that an embedder was trained on: its template is part of the model's preprocessing.

Two templates are five points that the face's own five are brought to, by the similarity transform (turn, scale, shift) that is best in
the sense of least squares: "arcface" and "dlib". "facenet" needs the box alone: it cuts that out with a margin.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from zoo.errors import InputError, UnknownNameError

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

# InsightFace's five points in a crop of 112×112 pixels (Deng et al. 2019, ArcFace; `arcface_src` of its face_align.py)
_ARCFACE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)  # fmt: skip
_ARCFACE_SIDE = 112
# where those points lie in dlib's chip, as parts of the face box, which a quarter of its side is added to all round
_DLIB = np.array([(0.22549, 0.215974), (0.75476, 0.215974), (0.490127, 0.515625), (0.254149, 0.780233), (0.726104, 0.780233)])
_DLIB_PADDING = 0.25
_FACENET_MARGIN = 14 / 160  # of the crop's side: what facenet-pytorch's networks are evaluated with

TEMPLATES = ("arcface", "dlib", "facenet")


def template_points(template: str, size_hw: tuple[int, int]) -> Floats | None:
    """Return where a template has its five points, [5, 2] xy in pixels of a crop of this size; None where it needs the box alone.

    Raises:
        UnknownNameError: no such template.
    """
    side = np.array([size_hw[1], size_hw[0]], np.float64)
    if template == "arcface":
        return np.asarray(_ARCFACE * side / _ARCFACE_SIDE)
    if template == "dlib":
        return np.asarray((_DLIB + _DLIB_PADDING) / (1 + 2 * _DLIB_PADDING) * side - 0.5)
    if template == "facenet":
        return None
    raise UnknownNameError("template of faces", template, TEMPLATES)


def align(image: Image, landmarks: NDArray[np.float32], box: NDArray[np.float32], template: str, size_hw: tuple[int, int]) -> Image:
    """Cut a face out as a template wants it.

    Args:
        image: [H, W, 3] uint8, RGB.
        landmarks: [5, 2] xy in pixels, in the order of `Found.landmarks`.
        box: [4] xyxy in pixels.
        template: one of `TEMPLATES`.
        size_hw: height and width of the crop.

    Returns:
        [h, w, 3] uint8; what lies beyond the picture is black ("facenet" cuts at its edge).

    Raises:
        UnknownNameError: no such template.
        InputError: the template needs five points and they are unknown or all in one place, or the box has no part in the picture.
    """
    points = template_points(template, size_hw)
    if points is None:
        return _margin_crop(image, box, size_hw)
    if not np.isfinite(landmarks).all():
        raise InputError(
            f"the template {template} brings five points of a face to their places, and this detector finds boxes alone; "
            'take "mtcnn", or a model whose template is "facenet"'
        )
    return warp(image, similarity(landmarks, points), size_hw)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Floats:
    """Return the similarity transform that brings points to others with the least squared error.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", equations 39 to 43.

    Args:
        source: [N, 2].
        target: [N, 2].

    Returns:
        [2, 3]: a turn without mirroring and a scale, and a shift.

    Raises:
        InputError: the source's points are all in one place.
    """
    first, second = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, aim = first.mean(0), second.mean(0)
    spread = ((first - middle) ** 2).sum()
    if not spread > 0:
        raise InputError("the five points of the face lie all in one place; it can't be aligned")
    left, sizes, right = np.linalg.svd((second - aim).T @ (first - middle))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    turn = left @ np.diag(signs) @ right * (sizes * signs).sum() / spread
    return np.asarray(np.hstack([turn, (aim - turn @ middle)[:, None]]))


def warp(image: Image, transform: Floats, size_hw: tuple[int, int]) -> Image:
    """Take a crop out of a picture, bilinearly, as dlib does: a picture that is much larger is halved first, so that no pixel is missed.

    Args:
        image: [H, W, 3] uint8, RGB.
        transform: [2, 3], from the picture's pixels to the crop's.
        size_hw: of the crop.
    """
    matrix = np.asarray(transform, np.float64).copy()
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    while scale < 0.5 and min(image.shape[:2]) > 1:
        image = np.asarray(cv2.pyrDown(image), np.uint8)
        matrix[:, :2] *= 2  # a pixel of the half picture lies at twice its place in the whole one
        scale *= 2
    return np.asarray(cv2.warpAffine(image, matrix, (size_hw[1], size_hw[0]), flags=cv2.INTER_LINEAR), np.uint8)


def _margin_crop(image: Image, box: NDArray[np.float32], size_hw: tuple[int, int]) -> Image:
    """Cut out a box and a margin, and scale the piece to the crop's size: facenet-pytorch's `extract_face`.

    Raises:
        InputError: no pixel of the picture is in the box.
    """
    height, width = image.shape[:2]
    margin = (np.asarray(box[2:], np.float64) - box[:2]) * _FACENET_MARGIN / (1 - _FACENET_MARGIN) / 2
    left, top = (int(max(side, 0)) for side in np.asarray(box[:2], np.float64) - margin)
    right, bottom = (int(min(side, limit)) for side, limit in zip(box[2:] + margin, (width, height), strict=True))
    if right <= left or bottom <= top:
        raise InputError(f"the face's box {[round(float(side), 1) for side in box]} has no part in the picture of {width}×{height} pixels")
    piece = PILImage.fromarray(image[top:bottom, left:right])
    return np.asarray(piece.resize((size_hw[1], size_hw[0]), PILImage.Resampling.BILINEAR), np.uint8)
