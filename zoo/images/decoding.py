"""Decode image files to RGB uint8 arrays. All images in the zoo are decoded here.

The decoder is OpenCV. This module adds features that OpenCV lacks: a check of the format (by content, not by name), a limit on the number
of pixels that is checked before memory is allocated, detection of damage that OpenCV only prints to standard error (opencv#6468), scaling
of 16-bit samples to 8 bits, and blending of transparent images over white.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, ImageError, check_positive
from zoo.images import headers, stderr, tiff
from zoo.images.headers import MAX_PIXELS, Header
from zoo.system.wording import look_at

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm")

Image = NDArray[np.uint8]

# the bit 256 selects RGB order, and the bits 16, 32 and 64 select the reduced scales; despite "GRAYSCALE" in their names, these flags
# don't convert to grey: the name only means that the BGR bit isn't set
_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
_DAMAGE = re.compile(r"Corrupt JPEG data: (.*)|(Premature end.*)|(Inconsistent progression.*)|TIFF_Error (.*)")
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def read(path: Path | str) -> Image:
    """Read and decode an image file at full size; the result is as in `read_image`."""
    return decode(load(path), str(path))


def read_image(image: Path | str | bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image file, exactly as training, evaluation and prediction do.

    Args:
        image: path of a JPEG, PNG, WebP, BMP, TIFF, PGM or PPM file, or the file's bytes.
        max_pixels: limit on width × height; larger images are refused before they are decoded.

    Returns:
        [H, W, 3] uint8 array, RGB. The EXIF orientation is applied, transparency is blended over white, and 16-bit samples are scaled to
        8 bits.

    Raises:
        ImageError: the file is missing, empty, damaged, truncated, too large or in an unsupported format.

    Example:
        >>> import zoo
        >>> zoo.read_image(b"P6 1 1 255 " + bytes([255, 0, 0]))
        array([[[255,   0,   0]]], dtype=uint8)
    """
    data, name = (image, f"image of {len(image)} bytes") if isinstance(image, bytes) else (load(image), str(image))
    return Decoding(max_pixels=max_pixels).decode(data, name)[0]


def decode(data: bytes, name: str) -> Image:
    """Decode an image at full size from the content of its file. `name` is the name of the image in error messages."""
    return Decoding().decode(data, name)[0]


@dataclass(frozen=True)
class Decoding:
    """Settings for reading the images of a run.

    Attributes:
        min_size_hw: height and width in pixels, after orientation, that images are going to be scaled to. If it is set, a JPEG may be
            decoded at 1/2, 1/4 or 1/8 of its size, as long as the decoded image has at least three times this height and width. This is
            several times faster, because the image is scaled in the DCT domain. After scaling to the final size with antialiasing, the
            image differs from one decoded at full size by less than 2 grey levels on average. The measured difference is 0.9 for 64 photos
            of 400 pixels scaled to a sixth, and 0.8 for portraits of 12 megapixels scaled to 224 pixels. With a factor of two instead
            of three, the difference is 2.1 for small images scaled to 50 pixels. None to decode images at full size.
        max_pixels: limit on width × height; larger images are refused before they are decoded.
    """

    min_size_hw: tuple[int, int] | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        check_positive("decoding", max_pixels=self.max_pixels)

    def read(self, path: Path | str) -> tuple[Image, tuple[int, int]]:
        """Decode an image file; the result is as in `decode`."""
        return self.decode(load(path), str(path))

    def decode(self, data: bytes, name: str) -> tuple[Image, tuple[int, int]]:
        """Decode an image from the content of its file. `name` is the name of the image in error messages.

        Returns:
            The image, possibly at a reduced scale, and its height and width at full size, which are the coordinate frame of boxes.
        """
        header = _header(data, name, self.max_pixels)
        scale = _scale(header, self.min_size_hw) if self.min_size_hw else 1
        image, messages = _imdecode(data, header, scale)
        for line in messages:
            if reason := _damage(line):
                # libjpeg reports "Premature end" if the file ends within a scan, although an end marker exists somewhere in it
                kind = "truncated" if reason.startswith("Premature end") else "unreadable"
                raise ImageError(name, f"is damaged: {reason}. Replace the file, or remove it", kind)
        expected = (-(-header.height // scale), -(-header.width // scale))
        if image is None or image.shape[:2] != expected:
            raise ImageError(
                name, f"is a damaged or unusual {header.format} that OpenCV can't decode. Replace the file, or convert it to PNG"
            )
        upright = _TURNS[header.orientation](_rgb(image, header, name))
        return np.ascontiguousarray(upright), header.size_hw


def header(path: Path | str) -> Header:
    """Return the header of an image file, whose container must be complete. The pixels aren't decoded."""
    return _header(load(path), str(path), MAX_PIXELS)


def size(path: Path | str) -> tuple[int, int]:
    """Return the height and width of an image file in pixels, with orientation applied; otherwise as `header`."""
    return header(path).size_hw


_HEAD = 1 << 16  # bytes; more are read of few files: an EXIF block has up to 64 KiB


def peek(path: Path | str) -> Header | None:
    """Return the header of a regular file, of which usually only the first bytes are read; None if it can't be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            try:
                return headers.parse(head, whole=False)
            except Flaw as flaw:
                return headers.parse(head + file.readall(), whole=False) if flaw.kind == "truncated" and len(head) == _HEAD else None
    except (OSError, Flaw):
        return None


def load(path: Path | str) -> bytes:
    """Return the content of a regular file, or raise an `ImageError` with the reason."""
    path = Path(path)
    try:
        # reading a pipe or a device could block or never end
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(str(path), "is a folder; expected an image file" if path.is_dir() else "is not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(str(path), f"does not exist. {look_at(path)}", "missing-file") from None
    except PermissionError:
        raise ImageError(str(path), "can't be read by this user. Check the permissions of the file and its folder") from None
    except (OSError, ValueError) as error:  # ValueError: the path contains a null character
        raise ImageError(str(path), f"can't be read: {error}") from error


def _header(data: bytes, name: str, max_pixels: int) -> Header:
    try:
        header = headers.parse(data)
    except Flaw as flaw:
        raise ImageError(name, flaw.reason, flaw.kind) from None
    if header.height * header.width > max_pixels:
        raise ImageError(
            name,
            f"is too large: {header.width}×{header.height} pixels, the limit is {max_pixels} in total. Scale it down, or raise the limit "
            "(max_pixels=, or --max-pixels if the command has it)",
            "huge",
        )
    return header


def _scale(header: Header, min_size_hw: tuple[int, int]) -> int:
    """Return the largest factor (1, 2, 4 or 8) by which the image can be reduced and still has three times the required size."""
    if header.format != "JPEG":
        return 1
    height, width = header.size_hw
    fits = [scale for scale in _REDUCED if min(height / min_size_hw[0], width / min_size_hw[1]) >= 3 * scale]
    return max(fits, default=1)


def _imdecode(data: bytes, header: Header, scale: int) -> tuple[NDArray[np.generic] | None, list[str]]:
    """Return the image that OpenCV decodes, or None if it fails, and the lines printed to standard error during decoding."""
    if header.format == "PNM":
        data += b"\n"  # OpenCV drops the last number of a text PNM that has no trailing newline
    encoded = tiff.widened(data) if header.paired else data
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED.get(scale, 0)
    if header.alpha or header.transparent_grey is not None or header.peak != 255:
        flags = cv2.IMREAD_UNCHANGED
    level = cv2.utils.logging.getLogLevel()
    with stderr.caught() as messages:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)  # OpenCV passes on libtiff's errors only through its log
        try:
            image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
        except cv2.error:
            image = None
        finally:
            cv2.utils.logging.setLogLevel(level)
    if image is not None and flags == cv2.IMREAD_UNCHANGED and image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if image is not None and header.paired and image.shape == (header.height, 2 * header.width):
        image = tiff.pairs(image, data)
    return image, messages


def _damage(line: str) -> str | None:
    """Return the damage reported by a line on standard error, or None if the line is harmless."""
    found = _DAMAGE.search(line)
    if found is None:
        return None
    reason: str = next(group for group in found.groups() if group)
    padding = _EXTRANEOUS.fullmatch(reason)
    # some cameras pad the end of their scans; these images are complete
    return None if padding and int(padding[1]) <= 16 else reason


def _rgb(image: NDArray[np.generic], header: Header, name: str) -> Image:
    """Scale samples to 8 bits, blend transparency over white, and expand grey to three channels."""
    samples: NDArray[Any] = image
    if header.transparent_grey is not None:
        samples = np.where(samples == header.transparent_grey, header.peak, samples)
    if header.peak != 255:
        highest = int(samples.max())
        if highest > header.peak:
            raise ImageError(name, f"is damaged: it contains the value {highest}; its header declares {header.peak} as the maximum")
        samples = header.peak - samples if header.inverted else samples
        samples = (samples.astype(np.uint32) * 255 + header.peak // 2) // header.peak
    pixels: Image = samples.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 3:
        return pixels
    return _over_white(pixels[..., :-1], pixels[..., -1:], header.premultiplied)


def _over_white(colours: Image, alphas: Image, premultiplied: bool) -> Image:
    """Blend colours [H, W, 3] or grey values [H, W, 1] with opacity [H, W, 1] over white; return three channels in either case."""
    colour, alpha = colours.astype(np.uint16), alphas.astype(np.uint16)
    if premultiplied:
        over: NDArray[np.uint16] = np.minimum(colour + (255 - alpha), 255)
    else:
        over = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return np.repeat(over.astype(np.uint8), 3 // over.shape[2], axis=2)


# functions that undo the rotation and mirroring declared by an EXIF orientation (tag 274 of TIFF 6.0)
_TURNS: dict[int, Callable[[Image], Image]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
