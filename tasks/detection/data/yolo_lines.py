"""Lossless conversion between corners in pixels and the fractions of a YOLO label line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Fractions = tuple[float, float, float, float]


def corners(line: Fractions, size_hw: tuple[int, int]) -> Fractions:
    """Return xyxy in pixels from centre and size as fractions of an image."""
    (cx, cy, width, height), (high, wide) = line, size_hw
    return (cx - width / 2) * wide, (cy - height / 2) * high, (cx + width / 2) * wide, (cy + height / 2) * high


def fractions(box: NDArray[np.float32] | Sequence[float], size_hw: tuple[int, int]) -> Fractions:
    """Return centre and size as fractions such that `corners` returns the same float32 numbers.

    A float64 fraction is finer than a float32 coordinate by a factor of 2^29, so rounding to float32 restores the coordinate.

    Args:
        box: xyxy in pixels.
        size_hw: height and width of the image in pixels.
    """
    left, top, right, bottom = (float(side) for side in box)
    high, wide = size_hw
    return (left + right) / 2 / wide, (top + bottom) / 2 / high, (right - left) / wide, (bottom - top) / high
