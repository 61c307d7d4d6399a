"""Means over rectangles of a picture, from sums that are taken once: what shrinks it for every scale of a detector's pyramid.

The rectangles are those of adaptive average pooling (torch's `interpolate(…, mode="area")`), and the sums are whole numbers: the means
are exact, and cost as much as the small picture has pixels, not the large one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AreaSums:
    """Sums over everything left of and above each pixel's corner.

    Attributes:
        sums: [H + 1, W + 1, 3], whole numbers.
    """

    sums: NDArray[Any]

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> AreaSums:
        """Take the sums of a picture [H, W, 3]."""
        fits = image.shape[0] * image.shape[1] * 255 < 2**31
        return cls(cv2.integral(image, sdepth=cv2.CV_32S if fits else cv2.CV_64F))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.sums.shape[0] - 1, self.sums.shape[1] - 1

    def shrunk(self, size_hw: tuple[int, int], bands: Sequence[tuple[int, int]]) -> Iterator[Floats32]:
        """Yield bands of the picture at another size.

        Args:
            size_hw: of the whole picture.
            bands: the first row of each, and the one after its last.

        Yields:
            [rows, w, 3], 0–255.
        """
        top, bottom = _bins(self.size_hw[0], size_hw[0])
        left, right = _bins(self.size_hw[1], size_hw[1])
        for first, end in bands:
            rows = self.sums[bottom[first:end]] - self.sums[top[first:end]]
            area = (bottom - top)[first:end, None] * (right - left)
            yield np.divide(rows.take(right, 1) - rows.take(left, 1), area[..., None], dtype=np.float32)

    def crops(self, boxes: Ints, side: int) -> Floats32:
        """Return rectangles [N, 4] xyxy of whole pixels, each with at least one, as squares [N, side, side, 3], 0–255."""
        (x0, x1), (y0, y1) = (_edges(boxes[:, axis], boxes[:, axis + 2], side) for axis in (0, 1))
        width = self.sums.shape[1]
        flat = self.sums.reshape(-1, 3)
        lower, upper = ((edge * width)[:, :, None] for edge in (y1, y0))
        total = flat.take(lower + x1[:, None], 0) - flat.take(lower + x0[:, None], 0)
        total += flat.take(upper + x0[:, None], 0) - flat.take(upper + x1[:, None], 0)
        area = (y1 - y0)[:, :, None] * (x1 - x0)[:, None]
        return np.divide(total, area[..., None], dtype=np.float32)


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
