"""Kernels and random fields that several corruptions are made of."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.evaluation.robustness.definition import FloatImage, single

Field = NDArray[np.float32]


def filtered(image: FloatImage, kernel: Field) -> FloatImage:
    """Return a picture or field filtered with a kernel, mirrored at its edges."""
    return single(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def disk_kernel(radius: float, softness: float) -> Field:
    """Return the blur of a lens out of focus: a disk, its edge softened by a Gaussian of `softness` pixels."""
    reach = int(np.ceil(radius)) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    width = 3 if radius <= 8 else 5
    return single(cv2.GaussianBlur(disk / disk.sum(), (width, width), softness))


def motion_kernel(radius: float, sigma: float, angle: float) -> Field:
    """Return the blur of a movement that fades out.

    Weights fall from the start of the line on as half a Gaussian, over 2 · radius pixels. The line is laid so that its centre of gravity
    is in the middle: the picture is smeared, its content stays where its boxes are.

    Args:
        radius: half the length of the line, in pixels.
        sigma: of the Gaussian, in pixels.
        angle: of the line, in radians.
    """
    steps = np.linspace(0, 2 * radius, 8 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    along = steps - (steps * weights).sum()
    reach = int(np.ceil(2 * radius)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    x, y = along * np.cos(angle) + reach, along * np.sin(angle) + reach
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):  # every point of the line is shared out over the four pixels around it
        share = (1 - np.abs(y - top - dy)) * (1 - np.abs(x - left - dx))
        np.add.at(kernel, (top + dy, left + dx), weights * share)
    return kernel.astype(np.float32)


def plasma(size_hw: tuple[int, int], decay: float, rng: np.random.Generator) -> Field:
    """Return a fractal field [H, W] in 0–1: noise on ever finer grids, each `decay`² times weaker than the last.

    The square is the published code's: its noise is drawn between ±w and multiplied by w, and it is w that shrinks by `decay`.
    """
    height, width = size_hw
    levels = max(1, int(np.ceil(np.log2(max(height, width, 2)))))
    field = np.zeros((height, width), np.float32)
    for level in range(1, levels + 1):
        grid = rng.uniform(-1, 1, (min(2**level + 1, height + 1), min(2**level + 1, width + 1))).astype(np.float32)
        field += np.float32(decay ** (-2 * level)) * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    return _stretched(field)


def frost_crystals(size_hw: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return a drawn texture of ice [H, W, 3] in 0–1: feathers of crystals that grow inwards, on a thin haze.

    The published corruption overlays photographs of frosted glass, which are not to be had here; this stands for them.
    """
    finer = max(1, -(-224 // min(size_hw)))  # lines are no thinner than a pixel: small pictures would be covered
    height, width = (finer * side for side in size_hw)
    side = max(height, width)
    needles = np.zeros((height, width), np.float32)
    for _ in range(48):
        start, length, angle = rng.random(2) * (width, height), side * rng.uniform(0.1, 0.35), rng.uniform(0, 2 * np.pi)
        _draw_feather(needles, start, length, angle, float(rng.uniform(0.5, 1.0)))
    soft = cv2.GaussianBlur(needles, (0, 0), max(0.4, side / 500))
    light = single(cv2.resize(soft, size_hw[::-1], interpolation=cv2.INTER_AREA))
    haze = plasma(size_hw, 1.27, rng)
    ice = np.clip(0.15 + 0.45 * haze**2 + 0.75 * light * (0.35 + haze), 0, 1)
    return single(ice[..., None] * np.array([0.9, 0.96, 1.0], np.float32))


def _draw_feather(canvas: Field, start: NDArray[np.float64], length: float, angle: float, light: float) -> None:
    """Draw a needle of ice with barbs at 60 degrees on both sides, shorter towards its tip, as water crystallises."""
    thick = max(1, round(max(canvas.shape) / 250))
    _draw_line(canvas, start, length, angle, light, thick)
    for share in np.linspace(0.1, 0.9, 9):
        for turn in (np.pi / 3, -np.pi / 3):
            root = start + share * length * np.array([np.cos(angle), np.sin(angle)])
            _draw_line(canvas, root, 0.35 * length * (1 - share), angle + turn, 0.7 * light, thick)


def _draw_line(canvas: Field, start: NDArray[np.float64], length: float, angle: float, light: float, thick: int) -> None:
    end = start + length * np.array([np.cos(angle), np.sin(angle)])
    first, last = (tuple(int(value) for value in np.round(point * 16)) for point in (start, end))  # 4 fractional bits
    cv2.line(canvas, first, last, light, thick, cv2.LINE_8, 4)


def _stretched(field: Field) -> Field:
    low, high = field.min(), field.max()
    return single((field - low) / max(high - low, np.float32(1e-6)))
