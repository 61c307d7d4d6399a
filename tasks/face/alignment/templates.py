"""Alignment templates: crop a face the way the embedder's training images were cropped. The template is part of a model's preprocessing.

The templates "arcface" and "dlib" are five target points, to which the face's five landmarks are mapped by the least-squares similarity
transform (rotation, scale, translation). "facenet" needs only the box, which it crops with a margin.
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

# InsightFace's five target points in a crop of 112×112 pixels (Deng et al. 2019, ArcFace; `arcface_src` of its face_align.py)
_ARCFACE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)  # fmt: skip
_ARCFACE_SIDE = 112
# the same points in dlib's chip, as fractions of the face box; a quarter of the box's side is added on all sides
_DLIB = np.array([(0.22549, 0.215974), (0.75476, 0.215974), (0.490127, 0.515625), (0.254149, 0.780233), (0.726104, 0.780233)])
_DLIB_PADDING = 0.25
_FACENET_MARGIN = 14 / 160  # fraction of the crop's side; facenet-pytorch's networks are evaluated with it

TEMPLATES = ("arcface", "dlib", "facenet")


def template_points(template: str, size_hw: tuple[int, int]) -> Floats | None:
    """Return a template's five target points, [5, 2] xy in pixels of a crop of this size; None for a template that needs only the box."""
    side = np.array([size_hw[1], size_hw[0]], np.float64)
    if template == "arcface":
        return np.asarray(_ARCFACE * side / _ARCFACE_SIDE)
    if template == "dlib":
        return np.asarray((_DLIB + _DLIB_PADDING) / (1 + 2 * _DLIB_PADDING) * side - 0.5)
    if template == "facenet":
        return None
    raise UnknownNameError("template of faces", template, TEMPLATES)


def align(image: Image, landmarks: NDArray[np.float32], box: NDArray[np.float32], template: str, size_hw: tuple[int, int]) -> Image:
    """Crop a face out of an RGB image [H, W, 3], aligned to one of `TEMPLATES`, as an image [h, w, 3].

    The landmarks [5, 2] xy, in the order of `Found.landmarks`, and the box [4] xyxy are in pixels of the image. Pixels beyond the image are
    black; "facenet" clips the box to the image instead.
    """
    points = template_points(template, size_hw)
    if points is None:
        return _margin_crop(image, box, size_hw)
    if not np.isfinite(landmarks).all():
        raise InputError(
            f"the template {template} aligns a face by five landmarks, and this detector finds boxes only; "
            'use "mtcnn", or a model whose template is "facenet"'
        )
    return warp(image, similarity(landmarks, points), size_hw)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Floats:
    """Return the least-squares similarity transform from source points to target points, [N, 2] xy.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", equations 39 to 43. The result [2, 3]
    is rotation (without reflection) times scale, with the translation in the last column.
    """
    first, second = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, aim = first.mean(0), second.mean(0)
    spread = ((first - middle) ** 2).sum()
    if not spread > 0:
        raise InputError("the five landmarks of the face coincide; it can't be aligned")
    left, sizes, right = np.linalg.svd((second - aim).T @ (first - middle))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    turn = left @ np.diag(signs) @ right * (sizes * signs).sum() / spread
    return np.asarray(np.hstack([turn, (aim - turn @ middle)[:, None]]))


def warp(image: Image, transform: Floats, size_hw: tuple[int, int]) -> Image:
    """Warp a crop out of an image with bilinear interpolation, as dlib does: a much larger image is halved first to avoid aliasing.

    `transform` [2, 3] maps pixels of the image to pixels of the crop.
    """
    matrix = np.asarray(transform, np.float64).copy()
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    while scale < 0.5 and min(image.shape[:2]) > 1:
        image = np.asarray(cv2.pyrDown(image), np.uint8)
        matrix[:, :2] *= 2  # pixel x of the halved image lies at 2x in the full one
        scale *= 2
    return np.asarray(cv2.warpAffine(image, matrix, (size_hw[1], size_hw[0]), flags=cv2.INTER_LINEAR), np.uint8)


def _margin_crop(image: Image, box: NDArray[np.float32], size_hw: tuple[int, int]) -> Image:
    """Crop a box with a margin and resize it to the crop's size, as facenet-pytorch's `extract_face` does."""
    height, width = image.shape[:2]
    margin = (np.asarray(box[2:], np.float64) - box[:2]) * _FACENET_MARGIN / (1 - _FACENET_MARGIN) / 2
    left, top = (int(max(side, 0)) for side in np.asarray(box[:2], np.float64) - margin)
    right, bottom = (int(min(side, limit)) for side, limit in zip(box[2:] + margin, (width, height), strict=True))
    if right <= left or bottom <= top:
        raise InputError(f"the face's box {[round(float(side), 1) for side in box]} lies outside the image of {width}×{height} pixels")
    piece = PILImage.fromarray(image[top:bottom, left:right])
    return np.asarray(piece.resize((size_hw[1], size_hw[0]), PILImage.Resampling.BILINEAR), np.uint8)
