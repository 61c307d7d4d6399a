"""Alignment templates, which define how faces are cropped. A model must use the template of its training images.

The templates "arcface" and "dlib" consist of five target points. The five landmarks of a face are mapped to these points by the
least-squares similarity transform (rotation, scale, translation). The template "facenet" crops the box of a face with a margin.
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
# the corresponding points in dlib's crops, as fractions of the face box; the crop adds a quarter of the box's side on every side
_DLIB = np.array([(0.22549, 0.215974), (0.75476, 0.215974), (0.490127, 0.515625), (0.254149, 0.780233), (0.726104, 0.780233)])
_DLIB_PADDING = 0.25
_FACENET_MARGIN = 14 / 160  # fraction of the crop's side, as in the evaluation of facenet-pytorch's networks

TEMPLATES = ("arcface", "dlib", "facenet")


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
    """Return the aligned crop of a face, [h, w, 3] uint8, RGB.

    Pixels outside the image are black, except for "facenet", which clips the box to the image.

    Args:
        image: [H, W, 3] uint8, RGB.
        landmarks: [5, 2] xy in pixels of the image, in the order of `Found.landmarks`.
        box: [4] xyxy in pixels of the image.
        template: one of `TEMPLATES`.
        size_hw: height and width of the crop in pixels.
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
