"""Decode image files to RGB uint8 arrays. All images in the zoo are decoded here.

The decoders are OpenCV and, for the formats in `zoo.images.pillow`, Pillow. This module adds features that they lack: a check of the format
(by content, not by name), a limit on the number of pixels that is checked before memory is allocated, scaling of 16-bit samples to 8 bits,
blending of transparent images over white, and the choice of bands.
"""

from __future__ import annotations

import mmap
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from zoo.errors import Flaw, ImageError, check_positive
from zoo.images import bands, headers, opencv, pillow
from zoo.images.header import FORMATS, Header
from zoo.images.headers import MAX_PIXELS
from zoo.system.wording import counted, look_at

# files with these suffixes count as images; others do if their content is that of an image (see zoo.data.folders)
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

Image = NDArray[np.uint8]


def read(path: Path | str) -> Image:
    """Read and decode an image file at full size; the result is as in `read_image`."""
    return decode(load(path), str(path))


def read_image(image: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, bands: tuple[int, ...] | None = None) -> Image:
    """Decode an image file, exactly as training, evaluation and prediction do.

    Args:
        image: path of a JPEG, PNG, WebP, BMP, TIFF, PNM, GIF, HEIC (with the extra `heic`), AVIF or JPEG 2000 file, or the file's bytes.
        max_pixels: limit on width × height; larger images are refused before they are decoded.
        bands: three bands to read as red, green and blue, or one to read as grey, counted from 0. They are the stored samples of a TIFF
            with bands other than grey, RGB and alpha; otherwise red, green and blue. None reads grey or RGB, and refuses other images.

    Returns:
        [H, W, 3] uint8 array, RGB. The EXIF orientation is applied, transparency is blended over white, and 16-bit samples are scaled to
        8 bits. Of several frames or pages, the first is decoded.

    Raises:
        ImageError: the file is missing, empty, damaged, truncated, too large or in an unsupported format.

    Example:
        >>> import zoo
        >>> zoo.read_image(b"P6 1 1 255 " + bytes([255, 0, 0]))
        array([[[255,   0,   0]]], dtype=uint8)
    """
    data, name = (image, f"image of {len(image)} bytes") if isinstance(image, bytes) else (load(image), str(image))
    return Decoding(max_pixels=max_pixels, bands=bands).decode(data, name)[0]


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
        bands: bands to read as RGB or grey, as in `read_image`; None for the usual ones.
    """

    min_size_hw: tuple[int, int] | None = None
    max_pixels: int = MAX_PIXELS
    bands: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_positive("decoding", max_pixels=self.max_pixels)
        if self.bands is not None:
            bands.check(self.bands)

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
        try:
            image = self._rgb(data, header, scale)
        except Flaw as flaw:
            raise ImageError(name, flaw.reason, flaw.kind) from None
        return image, header.size_hw

    def frames(self, data: bytes, name: str) -> Iterator[Image]:
        """Yield the frames of an animated image, as `decode` returns the first."""
        header = _header(data, name, self.max_pixels)
        try:
            for samples in pillow.frames(data, header.format):
                yield np.ascontiguousarray(_TURNS[header.orientation](_rgb(samples, header)))
        except Flaw as flaw:
            raise ImageError(name, flaw.reason, flaw.kind) from None

    def convert(self, image: PILImage.Image, name: str) -> Image:
        """Convert an image of Pillow, as `decode` does with its file."""
        header = _limited(pillow.header(image), name, self.max_pixels)
        try:
            return np.ascontiguousarray(_TURNS[header.orientation](_rgb(pillow.pixels(image), header)))
        except Flaw as flaw:
            raise ImageError(name, flaw.reason, flaw.kind) from None

    def _rgb(self, data: bytes, header: Header, scale: int) -> Image:
        """Decode an image, turn it upright, and choose its bands; raise a Flaw if it can't be decoded."""
        header = header if self.bands is None else header.choose(self.bands)
        if header.bands is None:
            what = f"is a {header.format} with {header.samples} bands that aren't declared as grey or RGB, with or without alpha"
            raise Flaw(f"{what}. {bands.CHOICE}, or save it as RGB", "unreadable")
        foreign = header.format in pillow.FORMATS
        rgb = _rgb(pillow.decode(data, header) if foreign else opencv.decode(data, header, scale), header)
        if self.bands is not None and not header.bands:
            rgb = bands.choose(rgb, self.bands)
        return np.ascontiguousarray(_TURNS[header.orientation](rgb))


def header(path: Path | str) -> Header:
    """Return the header of an image file, whose container must be complete. The pixels aren't decoded."""
    return _header(load(path), str(path), MAX_PIXELS)


def size(path: Path | str) -> tuple[int, int]:
    """Return the height and width of an image file in pixels, with orientation applied; otherwise as `header`."""
    return header(path).size_hw


def upright(mask: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a mask [H, W] turned as an EXIF orientation (1 to 8) declares."""
    turned: NDArray[Any] = _TURNS[orientation](mask[..., None])
    return turned[..., 0]


_HEAD = 1 << 16  # bytes; more are read of few files: an EXIF block has up to 64 KiB


def peek(path: Path | str) -> Header | None:
    """Return the header of a regular file, of which usually only the first bytes are read; None if it can't be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            try:
                return headers.parse(head, whole=False)
            except Flaw as flaw:
                if flaw.kind != "truncated" or len(head) < _HEAD:
                    return None
            if head.startswith((b"II", b"MM")):  # the directory of a TIFF may stand behind gigabytes of pixels
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    return headers.parse(cast(bytes, mapped), whole=False)  # TIFFs are read by offset only
            return headers.parse(head + file.readall(), whole=False)
    except (OSError, Flaw):
        return None


def notes(files: Iterable[tuple[str, Path]], chosen: tuple[int, ...] | None) -> tuple[str, ...]:
    """Return notes on parts of images (keys and paths) that aren't read: further frames of GIFs, and pages and bands of TIFFs.

    Bands are not mentioned if some are `chosen`. In a large dataset without such images, only some headers are read.
    """
    found: dict[str, list[str]] = {}
    for number, (key, path) in enumerate((key, path) for key, path in files if path.suffix.lower() in _PARTIAL):
        if number >= _LOOKED and not found:
            break
        header = peek(path)
        note = "" if header is None else header.note if chosen is None else replace(header, assumed="").note
        if note:
            found.setdefault(note, []).append(key)
    return tuple(f"{note}: {counted(len(keys), 'image')}, such as {keys[0]}" for note, keys in found.items())


_PARTIAL = (*FORMATS["GIF"], *FORMATS["TIFF"])  # formats whose files often have several frames or other bands
_LOOKED = 2000  # files


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
    return _limited(header, name, max_pixels)


def _limited(header: Header, name: str, max_pixels: int) -> Header:
    """Return the header, or raise an `ImageError` if the image is too large."""
    if header.height * header.width * max(1, header.samples // 4) > max_pixels:  # more samples per pixel than RGBA need as much memory
        several = f" in {header.samples} bands" if header.samples > 4 else ""
        raise ImageError(
            name,
            f"is too large: {header.width}×{header.height} pixels{several}, the limit is {max_pixels} in total. "
            "Scale it down, or raise the limit (max_pixels=, or --max-pixels if the command has it)",
            "huge",
        )
    return header


def _scale(header: Header, min_size_hw: tuple[int, int]) -> int:
    """Return the largest factor (1, 2, 4 or 8) by which the image can be reduced and still has three times the required size."""
    if header.format != "JPEG":
        return 1
    height, width = header.size_hw
    fits = [scale for scale in opencv.REDUCED if min(height / min_size_hw[0], width / min_size_hw[1]) >= 3 * scale]
    return max(fits, default=1)


def _rgb(image: NDArray[np.generic], header: Header) -> Image:
    """Scale samples to 8 bits, blend transparency over white, and expand grey to three channels."""
    samples: NDArray[Any] = image
    if header.transparent_grey is not None:
        samples = np.where(samples == header.transparent_grey, header.peak, samples)
    if header.peak != 255:
        highest = int(samples.max())
        if highest > header.peak:
            raise Flaw(f"is damaged: it contains the value {highest}; its header declares {header.peak} as the maximum", "unreadable")
        samples = header.peak - samples if header.inverted else samples
        samples = (samples.astype(np.uint32) * 255 + header.peak // 2) // header.peak
    pixels: Image = samples.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 3:
        return pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return over_white(pixels, header.premultiplied)


def over_white(pixels: Image, premultiplied: bool = False) -> Image:
    """Blend RGB [H, W, 4] or grey [H, W, 2], both with opacity as the last channel, over white; return three channels in either case."""
    colour, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:].astype(np.uint16)
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
