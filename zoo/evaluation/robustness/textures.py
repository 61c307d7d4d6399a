"""Filter kernels and random textures for corruptions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Field = NDArray[np.float32]


def single(array: NDArray[Any]) -> FloatImage:
    """Return the array as float32, with a precise type; OpenCV's type hints don't specify the dtype."""
    return array.astype(np.float32, copy=False)


def filtered(image: FloatImage, kernel: Field) -> FloatImage:
    """Filter an image or a field with a kernel, with reflected borders."""
    return single(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def disk_kernel(radius: float, softness: float) -> Field:
    """Return the blur kernel of a defocused lens: a disk whose edge is smoothed by a Gaussian. Both arguments are in pixels."""
    reach = int(np.ceil(radius)) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    width = 3 if radius <= 8 else 5
    return single(cv2.GaussianBlur(disk / disk.sum(), (width, width), softness))


def motion_kernel(radius: float, sigma: float, angle: float) -> Field:
    """Return the kernel of a motion blur along a line of 2 · radius pixels.

    The weights along the line follow one half of a Gaussian with the standard deviation `sigma` (pixels). Their centre of gravity is at the
    centre of the kernel, so that objects stay in their boxes. `angle` is in radians.
    """
    steps = np.linspace(0, 2 * radius, 8 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    along = steps - (steps * weights).sum()
    reach = int(np.ceil(2 * radius)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    x, y = along * np.cos(angle) + reach, along * np.sin(angle) + reach
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):  # bilinear: each point of the line is distributed over the four nearest pixels
        share = (1 - np.abs(y - top - dy)) * (1 - np.abs(x - left - dx))
        np.add.at(kernel, (top + dy, left + dx), weights * share)
    return kernel.astype(np.float32)


def plasma(size_hw: tuple[int, int], decay: float, rng: np.random.Generator) -> Field:
    """Return a fractal field [H, W] in 0–1: the sum of noise on increasingly fine grids.

    The noise on each grid is `decay`² times weaker than on the previous one. This follows the published code, which draws noise between
    -w and w, multiplies it by w, and divides w by `decay` for each grid.
    """
    height, width = size_hw
    levels = max(1, int(np.ceil(np.log2(max(height, width, 2)))))
    field = np.zeros((height, width), np.float32)
    for level in range(1, levels + 1):
        grid = rng.uniform(-1, 1, (min(2**level + 1, height + 1), min(2**level + 1, width + 1))).astype(np.float32)
        field += np.float32(decay ** (-2 * level)) * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    low, high = field.min(), field.max()
    return single((field - low) / max(high - low, np.float32(1e-6)))


def frost_crystals(size_hw: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return a synthetic ice texture [H, W, 3] in 0–1: feather-shaped crystals on a thin haze.

    The published corruption overlays photographs of frosted glass, which aren't available here.
    """
    finer = max(1, -(-224 // min(size_hw)))  # draw at a larger scale: lines are at least one pixel wide, which would cover a small image
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
    """Draw an ice needle with barbs at 60 degrees on both sides. As in real ice crystals, the barbs are shorter towards the tip."""
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
