"""Inspection of single images: readability, file format, and compact descriptors of the pixels."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from zoo.curation.check.findings import Finding
from zoo.data.dataset import Record
from zoo.errors import ImageError
from zoo.images import decoding, headers

TINY = 16  # pixels on the shorter side: smaller images cover less than half a cell at stride 32, and people can't label them
_BLANK = 1.0  # standard deviation in grey levels: below it, an image has a single colour with compression noise
_FEW = 256  # images: for fewer, starting processes (about a second each) takes longer than it saves
_CHUNK = 32  # images per work item of a process
THUMB = 16  # pixels: side of a thumbnail, which has 256 bytes; enough to distinguish two images by their grey levels
_DCT, _LOW = 32, 8  # sizes of the grey image and of the block of low frequencies for the perceptual hash

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PNM": (".pgm", ".ppm", ".pbm", ".pnm"),
}
_MODES = {"RGB": "colour", "YCbCr": "colour", "P": "colour", "L": "grey", "1": "black and white"}
_MODES |= dict.fromkeys(("RGBA", "LA", "PA", "RGBa", "La"), "with transparency") | {"CMYK": "CMYK"}
_MODES |= dict.fromkeys(("I;16", "I;16B", "I;16L", "I", "F"), "of more than 8 bits")


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of an image.

    Attributes:
        fault: reason why the image can't be read; "" if it can.
        size_hw: height and width in pixels, after applying the EXIF orientation.
        format: file format, detected from the content; "" for images that are not files.
        mode: colour mode in words: colour, grey, with transparency, …
        digest: hash of the decoded pixels. Images with equal pixels have equal digests, regardless of file format and name.
        hash: 64-bit perceptual hash.
        spread: standard deviation of the grey thumbnail, in grey levels.
        thumb: grey thumbnail, THUMB × THUMB bytes.
        fault_kind: kind of the error, as in `Fault.kind`; "" if there is none.
    """

    fault: str = ""
    size_hw: tuple[int, int] = (0, 0)
    format: str = ""
    mode: str = ""
    digest: bytes = b""
    hash: int = 0
    spread: float = 0.0
    thumb: bytes = b""
    fault_kind: str = ""

    @property
    def blank(self) -> bool:
        """Whether the image has a single colour."""
        return self.spread < _BLANK

    def pixels(self) -> NDArray[np.uint8]:
        """Return the thumbnail as [THUMB, THUMB] uint8."""
        return np.frombuffer(self.thumb, np.uint8).reshape(THUMB, THUMB)


def look(source: Path | NDArray[np.uint8]) -> Facts:
    """Return the properties of an image, which is a file or an array of pixels.

    No exception is raised for an unreadable image; `Facts.fault` contains the error.
    """
    if not isinstance(source, Path):
        return _facts(source, "", "colour")
    try:
        data = decoding.load(source)
        image = decoding.decode(data, str(source))
    except ImageError as error:
        return Facts(fault=error.reason, fault_kind=error.kind)
    return _facts(image, headers.parse(data).format, _mode(data))


def _facts(image: NDArray[np.uint8], format_: str, mode: str) -> Facts:
    thumb = thumbnail(image)
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    height, width = image.shape[:2]
    return Facts("", (height, width), format_, mode, digest.digest(), perceptual_hash(image), float(thumb.std()), thumb.tobytes())


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey thumbnail [THUMB, THUMB] uint8 of an image [H, W, 3] uint8, RGB. The aspect ratio is not preserved."""
    return _grey(image, THUMB)


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Return the 64-bit perceptual hash (pHash) of an image [H, W, 3] uint8, RGB.

    The image is resized to 32×32 grey pixels. Each bit indicates whether one of the 8×8 lowest coefficients of the discrete cosine
    transform exceeds the median of these coefficients, without the constant one (Zauner 2010, "Implementation and benchmarking of
    perceptual image hash functions"). Scaling, recompression and brightness changes leave the hash nearly unchanged.
    """
    coefficients = cv2.dct(_grey(image, _DCT).astype(np.float32))[:_LOW, :_LOW].reshape(-1)
    bits = coefficients > np.median(coefficients[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _grey(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    # area averaging avoids aliasing; conversion to grey is faster after resizing
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _mode(data: bytes) -> str:
    """Return the colour mode in words. Pillow reads it from the header without decoding the pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about the image size (our limit is stricter) and about malformed EXIF blocks
        try:
            with PILImage.open(io.BytesIO(data)) as picture:
                name = picture.mode
                return "with transparency" if "transparency" in picture.info else _MODES.get(name, name)
        except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError):
            return "colour"  # OpenCV has read the image although Pillow can't: nothing to report


def look_at_all(records: Sequence[Record], workers: int | None = None) -> Iterator[Facts]:
    """Yield the properties of each record's image, in order.

    Image files are read in worker processes. Threads would not help, because only one image per process can be decoded at a time. Generated
    and in-memory images are read in this process.

    Args:
        records: the records.
        workers: number of worker processes; 0 reads all images in this process. None uses one worker per core if there are many images.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = cores if workers is None else workers
    files = [record.source for record in records if isinstance(record.source, Path)]
    if count < 1 or (workers is None and (cores < 2 or len(files) < _FEW)):
        yield from (_look_at(record) for record in records)
        return
    # spawn: forking a process in which OpenCV or torch runs threads can hang
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        read = pool.map(look, files, chunksize=_CHUNK)
        for record in records:
            yield next(read) if isinstance(record.source, Path) else _look_at(record)


def _one_thread() -> None:
    cv2.setNumThreads(1)  # worker processes already use all cores


def _look_at(record: Record) -> Facts:
    if not callable(record.source):
        return look(record.source)
    try:
        return look(record.source())
    except ImageError as error:  # an image stored inside a larger file
        return Facts(fault=error.reason, fault_kind=error.kind)


def findings(keys: Sequence[str], names: Sequence[str], facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report problems of single images. Arguments have one element per image; the name is "" for images without a file."""
    modes = Counter(fact.mode for fact in facts if not fact.fault)
    usual = modes.most_common(1)[0][0] if modes else ""
    for key, name, fact in zip(keys, names, facts, strict=True):
        if fact.fault:
            yield Finding(fact.fault_kind, key, fact.fault)
            continue
        suffix = Path(name).suffix.lower()
        if fact.format and suffix not in _SUFFIXES[fact.format]:
            yield Finding("wrong-extension", key, f"is a {fact.format} file, but its extension is {suffix or 'missing'}")
        if min(fact.size_hw) < TINY:
            yield Finding("tiny", key, f"is {fact.size_hw[1]}×{fact.size_hw[0]} pixels; too little detail below {TINY} pixels")
        if fact.mode != usual:
            yield Finding("odd-mode", key, f"is {fact.mode}, but most images ({modes[usual]}) are {usual}")
        if fact.blank:
            yield Finding("blank", key, "has a single colour")
