"""Finders for tests: bright regions count as faces, and no network is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.detection.faces import Found

POINTS = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)  # fractions of the box


@dataclass(frozen=True)
class BrightFinder:
    """Finder of one face with five landmarks per bright quarter of the image, in descending order of brightness."""

    level: int = 100

    @property
    def settings(self) -> dict[str, Any]:
        return {"detector": "bright", "level": self.level}

    def __call__(self, image: NDArray[np.uint8]) -> Found:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        boxes, scores = [], []
        for top in (0, height):
            for left in (0, width):
                mean = float(image[top : top + height, left : left + width].mean()) if height and width else 0.0
                if mean > self.level:
                    boxes.append((left, top, left + width, top + height))
                    scores.append(mean / 256)
        order = np.argsort([-score for score in scores], kind="stable")
        found = np.array(boxes, np.float32).reshape(-1, 4)[order]
        points = found[:, None, :2] + POINTS * (found[:, 2:] - found[:, :2])[:, None]
        return Found(found, np.array(scores, np.float32)[order], points.astype(np.float32))


@dataclass(frozen=True)
class OnePlace(BrightFinder):
    """Finder of bright quarters whose landmarks coincide if the image contains bright green."""

    def __call__(self, image: NDArray[np.uint8]) -> Found:
        found = super().__call__(image)
        return found if image[..., 1].max() < 255 else replace(found, landmarks=np.full_like(found.landmarks, 7))


def bright_quarter(*quarters: int, size: int = 64, level: int = 200) -> NDArray[np.uint8]:
    """Return a black image with some bright quarters (0 to 3, row by row), each slightly darker than the one before."""
    image = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    for number, quarter in enumerate(quarters):
        top, left = quarter // 2 * half, quarter % 2 * half
        image[top : top + half, left : left + half] = level - number
    return image


def green_quarter(*quarters: int) -> NDArray[np.uint8]:
    """Return a black image with some bright green quarters."""
    image = bright_quarter(*quarters)
    image[..., 1] = np.where(image[..., 1] > 0, 255, 0)
    return image
