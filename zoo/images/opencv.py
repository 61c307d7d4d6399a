"""Decode images with OpenCV, and detect damage that OpenCV only prints to standard error (opencv#6468)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw
from zoo.images import jpeg, png, stderr, tiff
from zoo.images.header import Header
from zoo.images.headers import webp_padding

# the bit 256 selects RGB order, and the bits 16, 32 and 64 select the reduced scales; despite "GRAYSCALE" in their names, these flags
# don't convert to grey: the name only means that the BGR bit isn't set
REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
_DAMAGE = re.compile(r"Corrupt JPEG data: (.*)|(Premature end.*)|(Inconsistent progression.*)|TIFF_Error (.*)")

Samples = NDArray[np.generic]

_COMPLETED: dict[str, Callable[[bytes], bytes]] = {
    "PNM": lambda data: data + b"\n",  # OpenCV drops the last number of a text PNM that has no trailing newline
    "PNG": png.completed,
    "WebP": lambda data: data + bytes(webp_padding(data)),
}


def decode(data: bytes, header: Header, scale: int = 1) -> Samples:
    """Decode an image to samples [H, W] or [H, W, C] in the order RGB, at 1/scale of its size; raise a Flaw if it is damaged."""
    if header.format == "JPEG":
        image, damage = _jpeg(data, header, scale)
    elif header.bands:
        image, damage = _bands(data, header, header.bands)
    else:
        image, damage = _imdecode(_COMPLETED.get(header.format, bytes)(data), header)
    if damage:
        # libjpeg reports "Premature end" if the file ends within a scan, although an end marker exists somewhere in it
        kind = "truncated" if damage.startswith("Premature end") else "unreadable"
        raise Flaw(f"is damaged: {damage}. Replace the file, or remove it", kind)
    if image is None or image.shape[:2] != (-(-header.height // scale), -(-header.width // scale)):
        raise Flaw(
            f"is a damaged or unusual {header.format} that OpenCV can't decode. Replace the file, or convert it to PNG", "unreadable"
        )
    if image.dtype.kind == "i" and image.min() < 0:
        raise Flaw("contains negative samples; expected 0 or more. Scale the samples and save it as PNG", "unreadable")
    return image


def _jpeg(data: bytes, header: Header, scale: int) -> tuple[Samples | None, str]:
    """Decode a JPEG, also one whose end marker is missing or follows padding, if all of its pixels are present."""
    encoded = data
    if data.endswith(b"\xff" + jpeg.END):  # libjpeg-turbo doesn't report data that is missing before fill bytes
        encoded = data[:-1].rstrip(b"\xff") + jpeg.END
    if data.endswith(jpeg.END) or jpeg.ended(data, jpeg.parse(data)):
        image, damage = _imdecode(encoded, header, scale)
        return _first_whole(jpeg.unpadded(encoded, jpeg.parse(encoded), damage), header, scale) or (image, damage)
    whole = _first_whole(jpeg.completed(data, jpeg.parse(data)), header, scale)
    if whole is None:
        raise Flaw("is cut short: its end marker is missing, and so are pixels. Replace the file, or remove it", "truncated")
    return whole


def _first_whole(files: Iterable[bytes], header: Header, scale: int) -> tuple[Samples, str] | None:
    """Return the image of the first file that is decoded without damage, and no message; None if there is none."""
    decoded = (_imdecode(file, header, scale) for file in files)
    return next(((image, damage) for image, damage in decoded if image is not None and not damage), None)


def _bands(data: bytes, header: Header, bands: tuple[int, ...]) -> tuple[Samples | None, str]:
    """Decode the chosen stored samples of a TIFF."""
    files = tiff.grey_files(data, bands)
    decoded = [_imdecode(file, header) for file in files]
    damage = next((damage for _, damage in decoded if damage), "")
    grey = [image for image, _ in decoded if image is not None and image.ndim == 2]
    size_hw = (header.height, header.width * (header.samples if len(files) == 1 and header.samples > 1 else 1))
    if len(grey) < len(files) or any(image.shape not in (size_hw, (header.height, header.width)) for image in grey):
        return None, damage
    return tiff.bands_of(grey, data, bands), damage


def _imdecode(data: bytes, header: Header, scale: int = 1) -> tuple[Samples | None, str]:
    """Return the image that OpenCV decodes, None if it fails, and the damage that it printed, "" if none."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | REDUCED.get(scale, 0)
    if header.alpha or header.bands or header.transparent_grey is not None or header.peak != 255:
        flags = cv2.IMREAD_UNCHANGED
    level = cv2.utils.logging.getLogLevel()
    with stderr.caught() as messages:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)  # OpenCV passes on libtiff's errors only through its log
        try:
            image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            image = None
        finally:
            cv2.utils.logging.setLogLevel(level)
    if image is not None and flags == cv2.IMREAD_UNCHANGED and image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return image, next(filter(None, map(_damage, messages)), "")


def _damage(line: str) -> str:
    """Return the damage reported by a line on standard error, or "" if the line is harmless."""
    found = _DAMAGE.search(line)
    reason: str = next(group for group in found.groups() if group) if found else ""
    return "" if jpeg.harmless(reason) else reason
