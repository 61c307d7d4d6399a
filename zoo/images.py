"""Bytes to RGB uint8: the only decoder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import ImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm")


def read(path: Path | str) -> NDArray[np.uint8]:
    """Read a picture file.

    Args:
        path: a JPEG, PNG, WebP, BMP, TIFF, PGM or PPM file.

    Returns:
        [H, W, 3] uint8, RGB, EXIF orientation applied.

    Raises:
        ImageError: the file is missing, empty, damaged, cut short or too large.
    """
    data = Path(path).read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ImageError(str(path), "is not a picture")
    return image
