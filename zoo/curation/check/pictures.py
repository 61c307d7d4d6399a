"""Inspection of single images: readability, file format, and compact descriptors of the pixels."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from zoo.curation.check.findings import Finding
from zoo.data.dataset import Image, Record
from zoo.errors import ImageError
from zoo.images import decoding, headers
from zoo.images.header import FORMATS
from zoo.system.guard import check_main_guard
from zoo.system.threads import usable_cores

TINY = 16  # pixels on the shorter side: smaller images cover less than half a cell at stride 32, and people can't label them
_BLANK = 1.0  # standard deviation in grey levels: below it, an image has a single colour with compression noise
_FEW = 256  # images: for fewer, starting processes (about a second each) takes longer than it saves
_CHUNK = 32  # images per work item of a process
THUMB = 16  # pixels: side of a thumbnail, which has 256 bytes; enough to distinguish two images by their grey levels
_DCT, _LOW = 32, 8  # sizes of the grey image and of the block of low frequencies for the perceptual hash

_MODES = {"RGB": "colour", "YCbCr": "colour", "P": "colour", "L": "grey", "1": "black and white"}
_MODES |= dict.fromkeys(("RGBA", "LA", "PA", "RGBa", "La"), "with transparency") | {"CMYK": "CMYK"}
_MODES |= dict.fromkeys(("I;16", "I;16B", "I;16L", "I", "F"), "of more than 8 bits")


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of an image."""

    fault: str = ""  # reason why the image can't be read; "" if it can
    size_hw: tuple[int, int] = (0, 0)  # in pixels, after applying the EXIF orientation
    format: str = ""  # file format, detected from the content; "" for images that are not files
    mode: str = ""  # colour mode in words: colour, grey, with transparency, …
    digest: bytes = b""  # hash of the decoded pixels, the same for equal pixels regardless of file format and name
    hash: int = 0  # 64-bit perceptual hash
    spread: float = 0.0  # standard deviation of the grey thumbnail, in grey levels
    thumb: bytes = b""  # grey thumbnail, THUMB × THUMB bytes
    fault_kind: str = ""  # kind of the error, as in `Fault.kind`
    note: str = ""  # what isn't read of the file, as in `Header.note`

    @property
    def blank(self) -> bool:
        """Whether the image has a single colour."""
        return self.spread < _BLANK


def look(source: Path | Image | Callable[[], Image], bands: tuple[int, ...] | None = None) -> Facts:
    """Return the properties of the image of a record. `Facts.fault` contains the error of an unreadable image."""
    try:
        if not isinstance(source, Path):
            return _facts(Record("", source, None, bands=bands).load().image, "", "colour")
        data = decoding.load(source)
        image, _ = decoding.Decoding(bands=bands).decode(data, str(source))
        header = headers.parse(data)
        note = header.note if bands is None else replace(header, assumed="").note
        return replace(_facts(image, header.format, _mode(data)), note=note)
    except ImageError as error:
        return Facts(fault=error.reason, fault_kind=error.kind)


def _facts(image: NDArray[np.uint8], format_: str, mode: str) -> Facts:
    thumb = grey_thumbnail(image, THUMB)
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    height, width = image.shape[:2]
    return Facts("", (height, width), format_, mode, digest.digest(), perceptual_hash(image), float(thumb.std()), thumb.tobytes())


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Return the 64-bit perceptual hash (pHash) of an image [H, W, 3] uint8, RGB.

    The image is resized to 32×32 grey pixels. Each bit indicates whether one of the 8×8 lowest coefficients of the discrete cosine
    transform exceeds the median of these coefficients, without the constant one (Zauner 2010, "Implementation and benchmarking of
    perceptual image hash functions"). Scaling, recompression and brightness changes leave the hash nearly unchanged.
    """
    coefficients = cv2.dct(grey_thumbnail(image, _DCT).astype(np.float32))[:_LOW, :_LOW].reshape(-1)
    bits = coefficients > np.median(coefficients[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def grey_thumbnail(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a grey thumbnail [side, side] uint8 of an image [H, W, 3] uint8, RGB. The aspect ratio is not preserved."""
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
    and in-memory images are read in this process, and with 0 workers all are. None uses one worker per core if there are many images.
    """
    cores = usable_cores()
    count = cores if workers is None else workers
    files = [(record.source, record.bands) for record in records if isinstance(record.source, Path)]
    if count < 1 or (workers is None and (cores < 2 or len(files) < _FEW)):
        yield from (look(record.source, record.bands) for record in records)
        return
    check_main_guard("spawn")
    # spawn: forking a process in which OpenCV or torch runs threads can hang; one thread: the processes already use all cores
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        read = pool.map(look, [path for path, _ in files], [bands for _, bands in files], chunksize=_CHUNK)
        for record in records:
            yield next(read) if isinstance(record.source, Path) else look(record.source, record.bands)


def findings(keys: Sequence[str], names: Sequence[str], facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report problems of single images. Arguments have one element per image; the name is "" for images without a file."""
    modes = Counter(fact.mode for fact in facts if not fact.fault)
    usual = modes.most_common(1)[0][0] if modes else ""
    for key, name, fact in zip(keys, names, facts, strict=True):
        if fact.fault:
            yield Finding(fact.fault_kind, key, fact.fault)
            continue
        suffix = Path(name).suffix.lower()
        if fact.format and suffix not in FORMATS[fact.format]:
            yield Finding("wrong-extension", key, f"is a {fact.format} file, but its extension is {suffix or 'missing'}")
        if fact.note:
            yield Finding("assumed", key, f"has {fact.note}")
        if min(fact.size_hw) < TINY:
            yield Finding("tiny", key, f"is {fact.size_hw[1]}×{fact.size_hw[0]} pixels; too little detail below {TINY} pixels")
        if fact.mode != usual:
            yield Finding("odd-mode", key, f"is {fact.mode}, but most images ({modes[usual]}) are {usual}")
        if fact.blank:
            yield Finding("blank", key, "has a single colour")
