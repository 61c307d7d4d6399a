"""Formats that Pillow decodes: GIF, AVIF and JPEG 2000, HEIC with the package pillow-heif, and the frames of animated images.

Sizes are read from the headers; no pixel is decoded before they have been checked.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import features

from zoo.errors import Flaw
from zoo.images.header import Header

FORMATS = ("GIF", "AVIF", "HEIC", "JPEG 2000")
ANIMATED = ("GIF", "WebP", "PNG", "AVIF")
_NAMES = {"JPEG 2000": "JPEG2000", "WebP": "WEBP"}  # Pillow's names where they differ
_BOMBS = (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning)  # beyond Pillow's own limit
# what Pillow and its plugins raise for damaged files
_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, TypeError, MemoryError, struct.error, *_BOMBS)


def gif(data: bytes, whole: bool) -> tuple[int, int, bool]:
    """Return the height and width of a GIF, and whether it has several frames (GIF89a, sections 18 to 22).

    The first frame may be larger than the declared size. Raises a struct.error or an IndexError if the data ends in the first frame.
    """
    width, height = struct.unpack_from("<HH", data, 6)
    extents = _extents(data)
    bottom, right = next(extents, (0, 0))
    if not bottom or not right:
        raise Flaw("is damaged: it contains no frame", "unreadable")
    try:
        several = next(extents, None) is not None
    except (struct.error, IndexError):
        if not whole:
            raise
        several = False
    return max(height, bottom), max(width, right), several


def _extents(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the bottom and right edge of each frame of a GIF; raise a struct.error or an IndexError if the data ends early."""
    at = 13 + _colours(data[10])
    while data[at] in (0x21, 0x2C):  # not the trailer, or bytes that belong to no block
        if data[at] == 0x21:  # extension
            at = _after_blocks(data, at + 2)
            continue
        left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, at + 1)
        at = _after_blocks(data, at + 11 + _colours(flags))
        yield top + rows, left + columns


def _colours(flags: int) -> int:
    """Return the size of the colour table that the flags declare, in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return the offset after a sequence of data blocks, which may run past the end in frames that aren't read."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def jpeg2000(data: bytes, whole: bool) -> tuple[int, int, bool, int]:
    """Return the height, width and number of bands without alpha of a JPEG 2000 image (ITU-T T.800, annexes A and I).

    The third value is whether Pillow returns 16 bits.
    """
    start, end = 0, len(data)
    while not data.startswith(b"\xff\x4f\xff\x51", start):
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 16 if length == 1 else 8
        length = struct.unpack_from(">Q", data, start + 8)[0] if length == 1 else length or len(data) - start
        if length < head or (kind == b"jp2c" and not data.startswith(b"\xff\x4f\xff\x51", start + head)):
            raise Flaw("is damaged: its codestream can't be found", "unreadable")
        start, end = (start + head, start + length) if kind == b"jp2c" else (start + length, end)
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    components, depth = struct.unpack_from(">HB", data, start + 40)
    if whole and (end > len(data) or not data[start:end].rstrip(b"\0").endswith(b"\xff\xd9")):
        raise Flaw("is cut short: its end marker is missing", "truncated")
    if not 1 <= components <= 4:
        raise Flaw(f"is a JPEG 2000 with {components} components; expected 1 to 4. Save three of them as PNG", "unreadable")
    return bottom - top, right - left, components == 1 and (depth & 0x7F) + 1 > 8, components - _has_alpha(data[:start])


def _has_alpha(boxes: bytes) -> bool:
    """Return whether a channel definition in the boxes of a JPEG 2000 file declares opacity (type 1 or 2)."""
    at = boxes.find(b"cdef")
    if at < 0:
        return False
    (count,) = struct.unpack_from(">H", boxes, at + 4)
    return any(struct.unpack_from(">H", boxes, at + 8 + 6 * index)[0] in (1, 2) for index in range(count))


def boxed(data: bytes, format_: str) -> tuple[int, int, int, bool]:
    """Return the height, width and EXIF orientation of an AVIF or HEIC file, and whether it has several frames."""
    image = opened(data, format_)
    width, height = image.size
    if format_ == "HEIC":  # libheif applies the orientation
        return height, width, 1, False
    return height, width, header(image).orientation, image.n_frames > 1


def opened(data: bytes, format_: str) -> Any:
    """Return an image whose header has been read: one of Pillow, or of pillow-heif for HEIC.

    Raises a Flaw if the format isn't supported here, or the file is damaged.
    """
    try:
        if format_ == "HEIC":
            return _heif().open_heif(data)
        if format_ == "AVIF" and not features.check("avif"):
            raise Flaw("is an AVIF, which this build of Pillow can't read. Install it with: pip install 'pillow>=11.3'", "unreadable")
        return PILImage.open(io.BytesIO(data), formats=[_NAMES.get(format_, format_)])
    except Flaw:
        raise
    except _ERRORS as error:
        raise Flaw(f"is a damaged or unusual {format_} ({error}). Replace the file, or convert it to PNG", "unreadable") from None


def _heif() -> Any:
    try:
        import pillow_heif
    except ImportError:
        how = "Install it with: pip install 'resnet-zoo[heic]', or convert the image"
        raise Flaw(f"is a HEIC; reading it requires pillow-heif. {how}", "unreadable") from None
    return pillow_heif


def decode(data: bytes, header: Header) -> NDArray[np.generic]:
    """Decode the first frame: [H, W, 3] or [H, W, 4] uint8, or grey [H, W] uint16; raise a Flaw if the file is damaged."""
    image = opened(data, header.format)
    try:
        if header.bands:
            return np.asarray(image)[..., list(header.bands)]
        return _samples(image.to_pillow() if header.format == "HEIC" else image)
    except _ERRORS as error:
        raise Flaw(f"is a damaged or unusual {header.format} ({error}). Replace the file, or convert it to PNG", "unreadable") from None


def frames(data: bytes, format_: str) -> Iterator[NDArray[np.generic]]:
    """Yield the frames of an animated image as in `decode`, each composed with those before it."""
    image = opened(data, format_)
    if format_ == "GIF":
        with contextlib.suppress(struct.error, IndexError):  # frames that end early are reported when they are decoded
            if any(bottom > image.height or right > image.width for bottom, right in _extents(data)):
                raise Flaw("is damaged: a frame is larger than the first one", "unreadable")
    index = 0
    try:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            yield _samples(image)
    except _ERRORS as error:
        raise Flaw(f"is a damaged {format_}: frame {index} can't be decoded ({error})", "unreadable") from None


def header(image: PILImage.Image) -> Header:
    """Return the header of an opened or created image, whose pixels needn't be loaded."""
    try:
        orientation = image.getexif().get(274, 1)
    except _ERRORS:  # damaged metadata
        orientation = 1
    deep = image.mode == "I" or image.mode.startswith("I;16")
    return Header("image", image.height, image.width, orientation if orientation in range(1, 9) else 1, peak=65535 if deep else 255)


def pixels(image: PILImage.Image) -> NDArray[np.generic]:
    """Return the pixels of an image as in `decode`; raise a Flaw if they can't be read."""
    if image.mode == "F":
        raise Flaw("has floating-point pixels (mode F); expected 8 or 16 bits. Scale them and convert the image to RGB", "unreadable")
    try:
        return _samples(image)
    except _ERRORS as error:
        raise Flaw(f"can't be decoded ({error})", "unreadable") from None


def _samples(image: PILImage.Image) -> NDArray[np.generic]:
    if image.mode == "I" or image.mode.startswith("I;16"):
        stored = np.asarray(image)
        if stored.min() < 0:
            raise ValueError("negative pixels")
        return stored if image.mode == "I" else stored.astype(np.uint16)
    transparent = image.has_transparency_data
    return np.asarray(image.convert("RGBA" if transparent else "RGB"))
