"""Blur corruptions: defocus, frosted glass, motion and zoom (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import cv2
import numpy as np

from zoo.evaluation.robustness.definition import Constants, FloatImage, corruption, single
from zoo.evaluation.robustness.textures import disk_kernel, filtered, motion_kernel


@corruption(
    "defocus_blur",  # radius of the disk and softness of its edge, in pixels
    small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    large=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Blur with a disk-shaped kernel."""
    return filtered(image, disk_kernel(*constants))


@corruption(
    "glass_blur",  # sigma of both Gaussian blurs and maximum shift of a pixel, in pixels; number of rounds
    small=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    large=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
def glass_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Blur, shuffle pixels within small neighbourhoods, and blur again.

    The published code swaps pixels one by one. Here, each round replaces all pixels by neighbouring pixels at once. The result looks the
    same, and this is a hundred times faster.
    """
    sigma, reach, rounds = constants[0], round(constants[1]), round(constants[2])
    height, width = image.shape[:2]
    moved = single(cv2.GaussianBlur(image, (0, 0), sigma))
    for _ in range(rounds):
        # a swap shifts one pixel by -reach … reach - 1 and its partner the opposite way, so both signs are equally likely
        jumps = rng.integers(-reach, reach, (2, height, width)) * rng.choice((-1, 1), (1, height, width))
        y = np.clip(np.arange(height)[:, None] + jumps[0], 0, height - 1)
        x = np.clip(np.arange(width)[None, :] + jumps[1], 0, width - 1)
        moved = moved[y, x]
    return single(cv2.GaussianBlur(moved, (0, 0), sigma))


@corruption(
    "motion_blur",  # half the length of the line and sigma of its fall-off, in pixels
    small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
def motion_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Blur along a line at a random angle of up to 45 degrees to the horizontal."""
    radius, sigma = constants
    return filtered(image, motion_kernel(radius, sigma, np.radians(rng.uniform(-45, 45))))


@corruption(
    "zoom_blur",  # maximum zoom factor, step between zoom factors
    small=((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01)),
    large=((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03)),
)
def zoom_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Average the image with copies zoomed about its centre, by factors from 1 to the maximum."""
    largest, step = constants
    height, width = image.shape[:2]
    zooms = 1 + step * np.arange(round((largest - 1) / step) + 1)
    total = image.copy()
    for zoom in zooms:
        matrix = np.array([[zoom, 0, (1 - zoom) * (width - 1) / 2], [0, zoom, (1 - zoom) * (height - 1) / 2]])
        total += cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return total / np.float32(len(zooms) + 1)
