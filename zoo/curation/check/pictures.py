"""Look at every picture once: can it be read, is it what its name says, and what does it look like in a few bytes."""

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

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from zoo.curation.check.findings import Finding
from zoo.curation.check.hashing import THUMB, perceptual_hash, thumbnail
from zoo.data.dataset import Record
from zoo.errors import ImageError
from zoo.images import decoding as images
from zoo.images import headers as image_headers

TINY = 16  # pixels on the shorter side: below it a stride-32 trunk is left with less than half a cell, and people can't label them either
_BLANK = 1.0  # grey levels of standard deviation: less is one colour and its compression noise
_FEW = 256  # below so many pictures starting processes (about a second each) costs more than it saves
_CHUNK = 32

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
    """What one look at a picture gave.

    Attributes:
        fault: why it can't be read, or "".
        fault_kind: of which kind that is, as in `Fault`.
        size_hw: height and width in pixels, orientation applied.
        format: by content; "" for pictures that come from no file.
        mode: in words: colour, grey, with transparency, …
        digest: of the decoded pixels; equal pictures have equal digests, whatever their file's format or name.
        hash: the 64-bit perceptual hash.
        spread: standard deviation of the grey thumbnail, in grey levels.
        thumb: the grey thumbnail, THUMB × THUMB bytes.
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
        """Whether it is a picture of one colour."""
        return self.spread < _BLANK

    def pixels(self) -> NDArray[np.uint8]:
        """Return the thumbnail, [THUMB, THUMB] uint8."""
        return np.frombuffer(self.thumb, np.uint8).reshape(THUMB, THUMB)


def look(source: Path | NDArray[np.uint8]) -> Facts:
    """Read one picture, from its file or as it is; a picture that can't be read is an answer, not an exception."""
    if not isinstance(source, Path):
        return _facts(source, "", "colour")
    try:
        data = source.read_bytes()
    except (OSError, ValueError):
        data = None  # the decoder has the words for it
    try:
        image = images.read(source) if data is None else images.decode(data, str(source))
    except ImageError as error:
        return Facts(fault=error.reason, fault_kind=error.kind)
    assert data is not None, "the decoder read what the file system did not give"
    return _facts(image, image_headers.parse(data).format, _mode(data))


def _facts(image: NDArray[np.uint8], format_: str, mode: str) -> Facts:
    thumb = thumbnail(image)
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    height, width = image.shape[:2]
    return Facts("", (height, width), format_, mode, digest.digest(), perceptual_hash(image), float(thumb.std()), thumb.tobytes())


def _mode(data: bytes) -> str:
    """Return the mode that Pillow reads from the header; the pixels are not decoded a second time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of size (ours is stricter) and of odd EXIF blocks
        try:
            with PILImage.open(io.BytesIO(data)) as picture:
                name = picture.mode
                return "with transparency" if "transparency" in picture.info else _MODES.get(name, name)
        except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError):
            return "colour"  # OpenCV read it and Pillow doesn't know it: nothing to remark


def look_at_all(records: Sequence[Record], workers: int | None = None) -> Iterator[Facts]:
    """Look at every record's picture, in order, in several processes where that is worth it.

    Processes and not threads: the decoder holds a lock per process.

    Args:
        records: pictures from files are read in the processes; drawn and given ones here.
        workers: how many processes; None for one per core, 0 for this one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = cores if workers is None else workers
    files = [record.source for record in records if isinstance(record.source, Path)]
    if count < 1 or (workers is None and (cores < 2 or len(files) < _FEW)):
        yield from (_look_at(record) for record in records)
        return
    # spawn: a fork of a process in which OpenCV or torch runs threads can hang
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        read = pool.map(look, files, chunksize=_CHUNK)
        for record in records:
            yield next(read) if isinstance(record.source, Path) else _look_at(record)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism


def _look_at(record: Record) -> Facts:
    if not callable(record.source):
        return look(record.source)
    try:
        return look(record.source())
    except ImageError as error:  # kept encoded in a larger file
        return Facts(fault=error.reason, fault_kind=error.kind)


def findings(keys: Sequence[str], names: Sequence[str], facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report what is wrong with the pictures themselves.

    Args:
        keys: what to call each picture.
        names: its file name, or "" where it comes from no file.
        facts: what was seen.
    """
    modes = Counter(fact.mode for fact in facts if not fact.fault)
    usual = modes.most_common(1)[0][0] if modes else ""
    for key, name, fact in zip(keys, names, facts, strict=True):
        if fact.fault:
            yield Finding(fact.fault_kind, key, fact.fault)
            continue
        suffix = Path(name).suffix.lower()
        if fact.format and suffix not in _SUFFIXES[fact.format]:
            yield Finding("wrong-extension", key, f"is a {fact.format} and its name ends with {suffix or 'nothing'}")
        if min(fact.size_hw) < TINY:
            yield Finding("tiny", key, f"is {fact.size_hw[1]}×{fact.size_hw[0]} pixels; under {TINY} on a side little can be seen")
        if fact.mode != usual:
            yield Finding("odd-mode", key, f"is {fact.mode}, where most of the data ({modes[usual]} pictures) is {usual}")
        if fact.blank:
            yield Finding("blank", key, "is of one colour")
