"""Small images, folders and videos for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.images import decoding

COLOURS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}


def picture(colour: tuple[int, int, int], seed: int = 0, size_hw: tuple[int, int] = (32, 32)) -> NDArray[np.uint8]:
    """Return an RGB image of one colour with a little seeded noise."""
    noise = np.random.default_rng(seed).integers(0, 40, (*size_hw, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image, and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])


def write_class_folders(root: Path, per_class: int = 4, suffix: str = ".png") -> Path:
    """Write a folder of images for each of COLOURS, and return the root."""
    for name, colour in COLOURS.items():
        for index in range(per_class):
            write_picture(root / name / f"{index}{suffix}", picture(colour, index))
    return root


def cut_short(path: Path) -> Path:
    """Remove the second half of a file, and return its path."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def write_photos(folder: Path) -> Path:
    """Write a JPEG of 60 × 80 pixels in each of COLOURS, and return the folder."""
    for name, colour in COLOURS.items():
        write_picture(folder / f"{name}.jpg", picture(colour, size_hw=(60, 80)))
    return folder


def write_video(path: Path, colours: list[tuple[int, int, int]]) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (48, 32))
    assert video.isOpened()
    for colour in colours:
        video.write(np.full((32, 48, 3), colour[::-1], np.uint8))
    video.release()
    return path


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return an image [H, W, 3] turned as an EXIF orientation (1 to 8) declares."""
    return np.dstack([decoding.upright(image[..., band], orientation) for band in range(3)])
