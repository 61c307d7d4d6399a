"""One line of YOLO labels: corners in pixels to centre and size as fractions, and back, without losing a bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Fractions = tuple[float, float, float, float]


def corners(line: Fractions, size_hw: tuple[int, int]) -> Fractions:
    """Return xyxy in pixels of centre and size as fractions of a picture."""
    (cx, cy, width, height), (high, wide) = line, size_hw
    return (cx - width / 2) * wide, (cy - height / 2) * high, (cx + width / 2) * wide, (cy + height / 2) * high


def fractions(box: NDArray[np.float32] | Sequence[float], size_hw: tuple[int, int]) -> Fractions:
    """Return centre and size as fractions, such that `corners` gives the same float32 numbers again.

    A float64 fraction is 2^-29 finer than a float32 coordinate, so rounding there is rounding back.

    Args:
        box: xyxy in pixels.
        size_hw: of the picture.
    """
    left, top, right, bottom = (float(side) for side in box)
    high, wide = size_hw
    return (left + right) / 2 / wide, (top + bottom) / 2 / high, (right - left) / wide, (bottom - top) / high
