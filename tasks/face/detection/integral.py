"""Integral images, which resize an image to every scale of a detector's pyramid by area averaging, from sums computed once.

Each pixel of a resized image is the mean over the same rectangle as in adaptive average pooling (torch's `interpolate(…, mode="area")`).
The sums are integers and therefore exact. The cost depends on the size of the resized image, not of the original. Colours are stored as
separate planes, because NumPy gathers single values several times as fast as triples. If a compiler is available, C++ kernels compute
bit-identical results (`zoo.kernels.library`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.kernels.library import address, library, sizes, threads
from zoo.system.memory import reused

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AreaSums:
    """Integral image: for each pixel corner, the sum over all pixels above and to the left of it."""

    # [H + 1, 3, W + 1] uint32, modulo 2³²; the sum over a rectangle of fewer than 16 million pixels is exact
    sums: NDArray[np.uint32]

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> AreaSums:
        """Compute the integral image of an RGB image [H, W, 3] uint8."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f"the image has the shape {image.shape} and the dtype {image.dtype}; expected RGB [H, W, 3] uint8")
        height, width = image.shape[:2]
        sums = reused("sums", (height + 1, 3, width + 1), np.uint32)
        kernels = library("area")
        if kernels is not None:
            kernels.zoo_area_sums(address(np.ascontiguousarray(image)), *sizes(height, width), address(sums))
            return cls(sums)
        fits = height * width * 255 < 2**31
        for plane in range(3):
            found = cv2.integral(np.ascontiguousarray(image[:, :, plane]), sdepth=cv2.CV_32S if fits else cv2.CV_64F)
            sums[:, plane] = found if fits else np.fmod(found, 2.0**32)
        return cls(sums)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.sums.shape[0] - 1, self.sums.shape[2] - 1

    def shrunk(self, size_hw: tuple[int, int], bands: Sequence[tuple[int, int]]) -> Iterator[Floats]:
        """Yield bands of the image resized to `size_hw`, [3, rows, w] float32, 0–255, given their first rows and end rows (exclusive)."""
        top, bottom = _bins(self.size_hw[0], size_hw[0])
        left, right = _bins(self.size_hw[1], size_hw[1])
        for first, end in bands:
            yield self._means(top[first:end], bottom[first:end], left, right)

    def _means(self, top: Ints, bottom: Ints, left: Ints, right: Ints) -> Floats:
        """Return the means [3, rows, w] over rectangles with the edges `top` and `bottom` [rows], and `left` and `right` [w]."""
        kernels = library("area")
        if kernels is not None:
            means = np.empty((3, len(top), len(left)), np.float32)
            edges = address(top), address(bottom), *sizes(len(top)), address(left), address(right), *sizes(len(left))
            kernels.zoo_area_shrink(address(self.sums), *sizes(self.size_hw[1]), *edges, address(means), threads())
            return means
        high, wide = (1 / (bottom - top)).astype(np.float32), (1 / (right - left)).astype(np.float32)
        rows = self.sums[bottom] - self.sums[top]
        means = (rows.take(right, 2) - rows.take(left, 2)).astype(np.float32)
        means *= wide
        means *= high[:, None, None]
        return means.transpose(1, 0, 2)

    def crops(self, boxes: Ints, side: int) -> Floats:
        """Return crops of the image, resized to squares, [N, 3, side, side] float32, 0–255.

        The boxes [N, 4] are xyxy in whole pixels. Each contains at least one pixel and lies inside the image.
        """
        if (boxes[:, :2] < 0).any() or (boxes[:, :2] >= boxes[:, 2:]).any() or (boxes[:, 2:] > self.size_hw[::-1]).any():
            raise ValueError(f"a box is empty or extends beyond the image of {self.size_hw[0]}×{self.size_hw[1]} pixels")
        kernels = library("area")
        if kernels is not None:
            squares = np.empty((len(boxes), 3, side, side), np.float32)
            given = address(np.ascontiguousarray(boxes, np.int64)), *sizes(len(boxes), side)
            kernels.zoo_area_crop(address(self.sums), *sizes(self.size_hw[1]), *given, address(squares), threads())
            return squares
        (x0, x1), (y0, y1) = (_bins(boxes[:, axis + 2] - boxes[:, axis], side, boxes[:, axis]) for axis in (0, 1))
        _, planes, width = self.sums.shape
        flat, plane = self.sums.reshape(-1), np.arange(planes)[:, None, None] * width
        upper, lower = (edge[:, None, :, None] * (planes * width) + plane for edge in (y0, y1))
        left, right = x0[:, None, None], x1[:, None, None]
        total = flat.take(lower + right) - flat.take(lower + left) - flat.take(upper + right) + flat.take(upper + left)
        areas = (y1 - y0)[:, None, :, None] * (x1 - x0)[:, None, None]
        return np.asarray(total / areas, np.float32)


def _bins(length: int | Ints, parts: int, start: int | Ints = 0) -> tuple[Ints, Ints]:
    """Divide one interval or several [N] into bins, and return the first and end (exclusive) position of each, [parts] or [N, parts].

    If a length isn't divisible by the number of bins, neighbouring bins may share a pixel.
    """
    step, whole, first = np.arange(parts), np.asarray(length)[..., None], np.asarray(start)[..., None]
    return first + step * whole // parts, first - (-(step + 1) * whole // parts)
