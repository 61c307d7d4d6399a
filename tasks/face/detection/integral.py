"""Means over rectangles of a picture, from sums that are taken once: what shrinks it for every scale of a detector's pyramid.

The rectangles are those of adaptive average pooling (torch's `interpolate(…, mode="area")`), and the sums are whole numbers: the means
are exact, and cost as much as the small picture has pixels, not the large one. Colours come as planes: NumPy gathers single numbers
several times as quickly as threes. Where the machine has a compiler, kernels of our own do the same, to the bit (`zoo.kernels.library`).
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
    """Sums over everything left of and above each pixel's corner.

    Attributes:
        sums: [H + 1, 3, W + 1], modulo 2³², so that the sum of a rectangle is exact as long as it has less than 16 million pixels itself.
    """

    sums: NDArray[np.uint32]

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> AreaSums:
        """Take the sums of a picture [H, W, 3].

        Raises:
            InputError: it is something else.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f"a picture of shape {image.shape} in {image.dtype}; expected RGB [H, W, 3] in uint8")
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
        for first, end in bands:
            yield self._means(top[first:end], bottom[first:end], left, right)

    def _means(self, top: Ints, bottom: Ints, left: Ints, right: Ints) -> Floats:
        """Return the means of rectangles, given by their edges [rows] and [w]: [3, rows, w]."""
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
        """Return rectangles [N, 4] xyxy of whole pixels, each with at least one, as squares [N, 3, side, side], 0–255.

        Raises:
            ValueError: one has no pixel, or reaches out of the picture.
        """
        if (boxes[:, :2] < 0).any() or (boxes[:, :2] >= boxes[:, 2:]).any() or (boxes[:, 2:] > self.size_hw[::-1]).any():
            raise ValueError(f"crops of a picture of {self.size_hw[0]}×{self.size_hw[1]} have to lie in it")
        kernels = library("area")
        if kernels is not None:
            squares = np.empty((len(boxes), 3, side, side), np.float32)
            given = address(np.ascontiguousarray(boxes, np.int64)), *sizes(len(boxes), side)
            kernels.zoo_area_crop(address(self.sums), *sizes(self.size_hw[1]), *given, address(squares), threads())
            return squares
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
