"""Bytes to RGB uint8: the only decoder.

OpenCV decodes. Around it stand the things it leaves open: which formats are let in (by content, not by name), a limit on pixels that
is checked before anything is allocated, damage that it only mentions on standard error (opencv#6468), 16 bit, and transparency.
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
from zoo.images import headers as image_headers
from zoo.images import stderr as native_messages
from zoo.images import tiff
from zoo.images.headers import Header
from zoo.system.wording import look_at

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm")
MAX_PIXELS = 100_000_000

Image = NDArray[np.uint8]

# 256 is RGB order and 16, 32, 64 are the reduced scales; "GRAYSCALE" in their names only means that the BGR bit is not set
_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
_DAMAGE = re.compile(r"Corrupt JPEG data: (.*)|(Premature end.*)|(Inconsistent progression.*)|TIFF_Error (.*)")
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def read(path: Path | str, *, min_size_hw: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture file.

    Args:
        path: a JPEG, PNG, WebP, BMP, TIFF, PGM or PPM file.
        min_size_hw: what is needed of it, in pixels; see `decode`.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        [H, W, 3] uint8, RGB, EXIF orientation applied, transparency over white, 16 bit scaled to 8.

    Raises:
        ImageError: the file is missing, no file, empty, damaged, cut short, too large or of another format.
    """
    return decode(_load(path), str(path), min_size_hw=min_size_hw, max_pixels=max_pixels)


@dataclass(frozen=True)
class Decoding:
    """How the pictures of a run are read.

    Attributes:
        min_size_hw: what is needed of each, in pixels; see `decode`. None for whole pictures.
        max_pixels: larger pictures are refused before they are decoded.
    """

    min_size_hw: tuple[int, int] | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Refuse a limit below 1.

        Raises:
            InputError: naming it.
        """
        check_positive("decoding", max_pixels=self.max_pixels)

    def read(self, path: Path | str) -> tuple[Image, tuple[int, int]]:
        """Read a picture file.

        Returns:
            The picture as `images.read` gives it, and the height and width of the whole one: the frame that boxes are in.

        Raises:
            ImageError: as `images.read`.
        """
        data, name = _load(path), str(path)
        header = _header(data, name, self.max_pixels)
        return _decode(data, header, name, self.min_size_hw), header.size_hw


def decode(data: bytes, name: str, *, min_size_hw: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a picture from the bytes of its file.

    Args:
        data: the whole file.
        name: what to call it in messages.
        min_size_hw: where given, a JPEG may come back at 1/2, 1/4 or 1/8 of its size (scaled in the DCT domain, several times
            quicker), as long as that is at least three times this height and width, in pixels after orientation. Scaled on to its
            final size with antialiasing it differs from the whole picture by less than 2 grey levels in the mean: measured 0.9 over
            64 photos of 400 pixels scaled to a sixth, 0.8 over portraits of 12 megapixels scaled to 224 pixels. With twice instead
            of three times it would be 2.1 where small pictures end up at 50 pixels.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        As in `read`.

    Raises:
        ImageError: the bytes are empty, damaged, cut short, too large or of another format.
    """
    return _decode(data, _header(data, name, max_pixels), name, min_size_hw)


def _decode(data: bytes, header: Header, name: str, min_size_hw: tuple[int, int] | None) -> Image:
    scale = _scale(header, min_size_hw) if min_size_hw else 1
    image, messages = _imdecode(data, header, scale)
    for line in messages:
        reason = _damage(line)
        if reason:
            # libjpeg's own word for a file that ends within its scans, though an end marker stands somewhere
            kind = "truncated" if reason.startswith("Premature end") else "unreadable"
            raise ImageError(name, f"is damaged: {reason}. Get it again, or leave it out", kind)
    expected = (-(-header.height // scale), -(-header.width // scale))
    if image is None or image.shape[:2] != expected:
        raise ImageError(name, f"is a damaged or unusual {header.format} that OpenCV can't decode. Get it again, or convert it to PNG")
    return _upright(_rgb(image, header, name), header.orientation)


def size(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return a picture file's height and width in pixels, orientation applied, from its header alone.

    Raises:
        ImageError: as `read`, as far as the header shows it.
    """
    return _header(_load(path), str(path), max_pixels).size_hw


def _load(path: Path | str) -> bytes:
    path = Path(path)
    try:
        # a pipe or a device would block, or never end
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(str(path), "is a folder; expected a picture file" if path.is_dir() else "is no ordinary file")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(str(path), f"does not exist. {look_at(path)}", "missing-file") from None
    except PermissionError:
        raise ImageError(str(path), "may not be read by this user. Check its permissions and its folder's") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(str(path), f"can't be read: {error}") from error


def _header(data: bytes, name: str, max_pixels: int) -> Header:
    try:
        header = image_headers.parse(data)
    except Flaw as flaw:
        raise ImageError(name, flaw.reason, flaw.kind) from None
    if header.height * header.width > max_pixels:
        raise ImageError(
            name,
            f"is too large: {header.width}×{header.height} pixels, the limit is {max_pixels} in all. Scale it down, or raise the limit "
            "(max_pixels=; --max-pixels, where a command has it)",
            "huge",
        )
    return header


def _scale(header: Header, min_size_hw: tuple[int, int]) -> int:
    """Return the strongest reduction that leaves three times what is needed: 1, 2, 4 or 8."""
    if header.format != "JPEG":
        return 1
    height, width = header.size_hw
    fits = [scale for scale in _REDUCED if min(height / min_size_hw[0], width / min_size_hw[1]) >= 3 * scale]
    return max(fits, default=1)


def _imdecode(data: bytes, header: Header, scale: int) -> tuple[NDArray[np.generic] | None, list[str]]:
    """Return what OpenCV makes of the bytes, and what it said meanwhile."""
    if header.format == "PNM":
        data += b"\n"  # OpenCV misses the last number of a text PNM that ends with it
    encoded = tiff.widened(data) if header.paired else data
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED.get(scale, 0)
    if header.alpha or header.transparent_grey is not None or header.peak != 255:
        flags = cv2.IMREAD_UNCHANGED
    level = cv2.utils.logging.getLogLevel()
    with native_messages.caught() as messages:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)  # libtiff's errors come only through the log
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
    """Return the damage that a line reports, and None where it is only a remark."""
    found = _DAMAGE.search(line)
    if found is None:
        return None
    reason: str = next(group for group in found.groups() if group)
    padding = _EXTRANEOUS.fullmatch(reason)
    # several cameras pad the end of their scans; the pictures are whole
    return None if padding and int(padding[1]) <= 16 else reason


def _rgb(image: NDArray[np.generic], header: Header, name: str) -> Image:
    """Bring samples to 8 bits, lay transparency over white, and repeat grey three times."""
    samples: NDArray[Any] = image
    if header.transparent_grey is not None:
        samples = np.where(samples == header.transparent_grey, header.peak, samples)
    if header.peak != 255:
        highest = int(samples.max())
        if highest > header.peak:
            raise ImageError(name, f"is damaged: it holds the value {highest}; its header gives {header.peak} as the highest")
        samples = header.peak - samples if header.inverted else samples
        samples = (samples.astype(np.uint32) * 255 + header.peak // 2) // header.peak
    pixels: Image = samples.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 3:
        return pixels
    return _over_white(pixels[..., :-1], pixels[..., -1:], header.premultiplied)


def _over_white(colours: Image, alphas: Image, premultiplied: bool) -> Image:
    """Lay colours [H, W, 3] or grey [H, W, 1] with their opacity [H, W, 1] over white; grey comes out as three equal colours."""
    colour, alpha = colours.astype(np.uint16), alphas.astype(np.uint16)
    if premultiplied:
        over: NDArray[np.uint16] = np.minimum(colour + (255 - alpha), 255)
    else:
        over = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return np.repeat(over.astype(np.uint8), 3 // over.shape[2], axis=2)


def _upright(image: Image, orientation: int) -> Image:
    """Undo the turn and the mirroring that an EXIF orientation (tag 274 of TIFF 6.0) declares."""
    turn = _TURNS.get(orientation)
    return image if turn is None else np.ascontiguousarray(turn(image))


_TURNS: dict[int, Callable[[Image], Image]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
