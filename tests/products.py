"""Synthetic photos of a product in random poses: its front, with a logo, and its back, with a table and a bar code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 200  # side of the flat drawing in pixels, before the perspective transform
_CARTON = (40, 110, 120)  # RGB


def _front() -> NDArray[np.uint8]:
    face = np.full((_SIDE, _SIDE, 3), _CARTON, np.uint8)
    cv2.circle(face, (_SIDE // 2, 80), 48, (240, 200, 60), -1)
    cv2.putText(face, "ZOO", (62, 94), cv2.FONT_HERSHEY_DUPLEX, 1.2, (60, 40, 20), 3)
    cv2.putText(face, "12 biscuits", (32, 170), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
    return face


def _back() -> NDArray[np.uint8]:
    face = np.full((_SIDE, _SIDE, 3), _CARTON, np.uint8)
    cv2.rectangle(face, (20, 20), (180, 120), (245, 245, 240), -1)
    for row in range(30, 120, 14):
        cv2.line(face, (28, row), (172, row), (90, 90, 90), 2)
    cv2.rectangle(face, (90, 140), (180, 185), (255, 255, 255), -1)
    for column in range(96, 175, 7):
        cv2.line(face, (column, 146), (column, 180), (10, 10, 10), 2 + column % 3)
    return face


def photo(side: str, seed: int, size_hw: tuple[int, int] = (240, 320)) -> NDArray[np.uint8]:
    """Draw one photo: [H, W, 3] RGB.

    Args:
        side: "front" or "back".
        seed: seed of background, position, rotation, lighting and noise.
        size_hw: height and width in pixels.
    """
    random = np.random.default_rng([seed, side == "back"])
    height, width = size_hw
    ground = cv2.resize(random.integers(40, 220, (4, 5, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    half, angle = random.uniform(0.28, 0.42) * height, random.uniform(-0.5, 0.5)
    middle = np.array([width, height]) * random.uniform(0.42, 0.58, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half * random.uniform(0.85, 1.1, (4, 2)) @ turn.T + middle
    flat = np.array([[0, 0], [_SIDE, 0], [_SIDE, _SIDE], [0, _SIDE]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, corners.astype(np.float32))
    face = cv2.warpPerspective(_front() if side == "front" else _back(), matrix, (width, height), flags=cv2.INTER_AREA)
    inside = cv2.warpPerspective(np.full((_SIDE, _SIDE), 255, np.uint8), matrix, (width, height))[:, :, None] / 255
    lit = (ground * (1 - inside) + face * inside) * random.uniform(0.6, 1.2)
    return (lit + random.normal(0, 6, lit.shape)).clip(0, 255).astype(np.uint8)


def write_products(root: Path, per_side: int = 20, first: int = 0) -> Path:
    """Write JPEGs to `root`/front and `root`/back, and return the root.

    Args:
        root: parent folder.
        per_side: number of photos per folder.
        first: seed of the first photo.
    """
    for side in ("front", "back"):
        (root / side).mkdir(parents=True)
        for seed in range(first, first + per_side):
            assert cv2.imwrite(str(root / side / f"{seed:03d}.jpg"), photo(side, seed)[:, :, ::-1])
    return root
