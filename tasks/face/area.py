"""Means over rectangles of a picture, from sums that are taken once: what shrinks it for every scale of a detector's pyramid.

The rectangles are those of adaptive average pooling (torch's `interpolate(…, mode="area")`), and the sums are whole numbers: the means
are exact, and cost as much as the small picture has pixels, not the large one. Colours come as planes: NumPy gathers single numbers
several times as quickly as threes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AreaSums:
    """Sums over everything left of and above each pixel's corner.

    Attributes:
        sums: [H + 1, 3, W + 1], whole numbers.
    """

    sums: NDArray[Any]

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> AreaSums:
        """Take the sums of a picture [H, W, 3]."""
        height, width = image.shape[:2]
        fits = height * width * 255 < 2**31
        sums = np.empty((height + 1, 3, width + 1), np.int32 if fits else np.float64)
        for plane in range(3):
            sums[:, plane] = cv2.integral(np.ascontiguousarray(image[:, :, plane]), sdepth=cv2.CV_32S if fits else cv2.CV_64F)
        return cls(sums)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.sums.shape[0] - 1, self.sums.shape[2] - 1

    def shrunk(self, size_hw: tuple[int, int], bands: Sequence[tuple[int, int]]) -> Iterator[Floats]:
        """Yield bands of the picture at another size.

        Args:
            size_hw: of the whole picture.
            bands: the first row of each, and the one after its last.

        Yields:
            [3, rows, w], 0–255.
        """
        top, bottom = _bins(self.size_hw[0], size_hw[0])
        left, right = _bins(self.size_hw[1], size_hw[1])
        high, wide = (1 / (bottom - top)).astype(np.float32), (1 / (right - left)).astype(np.float32)
        for first, end in bands:
            rows = self.sums[bottom[first:end]] - self.sums[top[first:end]]
            means = (rows.take(right, 2) - rows.take(left, 2)).astype(np.float32)
            means *= wide
            means *= high[first:end, None, None]
            yield means.transpose(1, 0, 2)

    def crops(self, boxes: Ints, side: int) -> Floats:
        """Return rectangles [N, 4] xyxy of whole pixels, each with at least one, as squares [N, 3, side, side], 0–255."""
        (x0, x1), (y0, y1) = (_edges(boxes[:, axis], boxes[:, axis + 2], side) for axis in (0, 1))
        _, planes, width = self.sums.shape
        flat, plane = self.sums.reshape(-1), np.arange(planes)[:, None, None] * width
        upper, lower = (edge[:, None, :, None] * (planes * width) + plane for edge in (y0, y1))
        left, right = x0[:, None, None], x1[:, None, None]
        total = flat.take(lower + right) - flat.take(lower + left) - flat.take(upper + right) + flat.take(upper + left)
        areas = (y1 - y0)[:, None, :, None] * (x1 - x0)[:, None, None]
        return np.asarray(total / areas, np.float32)


def _edges(first: Ints, end: Ints, parts: int) -> tuple[Ints, Ints]:
    """Return where the parts of stretches [N] begin and end, [N, parts] each."""
    low, high = _bins(end - first, parts)
    return first[:, None] + low, first[:, None] + high


def _bins(length: int | Ints, parts: int) -> tuple[Ints, Ints]:
    """Return where each part of one length, or of several [N], begins and ends; where they don't divide evenly, neighbours share a pixel.

    Returns:
        [parts] or [N, parts], twice.
    """
    step, whole = np.arange(parts), np.asarray(length)[..., None]
    return step * whole // parts, -(-(step + 1) * whole // parts)
