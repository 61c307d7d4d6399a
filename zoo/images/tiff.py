"""Read TIFF directories (TIFF 6.0, section 2), and make OpenCV decode the stored samples of any number of bands.

OpenCV reads one, three or four samples per pixel, takes a fourth one for alpha, and drops the alpha channel of a grey TIFF. The samples of
a pixel are stored next to each other, so such a file can be decoded as a grey image that is as many times wider; a file that stores its
bands one after the other consists of grey images. The workaround keeps strips and tiles and adds a directory that declares this. OpenCV
and its checks remain the only decoder, and 16-bit samples need no special case.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw

SUBFILE, WIDTH, HEIGHT, DEPTH, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 254, 256, 257, 258, 259, 262, 274, 277
FILL_ORDER, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTES = 266, 273, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT = 284, 317, 322, 323, 324, 325, 338, 339
PREMULTIPLIED, STRAIGHT = 1, 2  # values of EXTRA_SAMPLES that declare alpha
RAW, LAB = (32803, 34892), (8, 9, 10)  # values of PHOTOMETRIC: color filter array and linear raw (DNG 1.4); CIELAB, ICCLAB and ITULAB
_KEPT = (HEIGHT, COMPRESSION, FILL_ORDER, ROWS_PER_STRIP, TILE_HEIGHT)
_CHUNKS = (STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES)
_BYTEWISE = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, old deflate: compressions that don't depend on the pixel layout


def directory(data: bytes) -> dict[int, int]:
    """Return the first value of every SHORT and LONG entry of the first directory, by tag; raise a struct.error if the data ends early."""
    return {tag: struct.unpack_from(f"{order}{kind}", data, place)[0] for tag, (order, kind, _, place) in _located(data).items()}


def values(data: bytes, tag: int) -> tuple[int, ...]:
    """Return all values of an entry of the first directory; () if it doesn't exist."""
    order, kind, number, place = _located(data).get(tag, ("<", "H", 0, 0))
    return struct.unpack_from(f"{order}{number}{kind}", data, place)


def _located(data: bytes, start: int | None = None) -> dict[int, tuple[str, str, int, int]]:
    """Return the byte order and type (`struct` characters), number and offset of the values of SHORT and LONG entries, by tag."""
    order, entries = _entries(data, start)
    found: dict[int, tuple[str, str, int, int]] = {}
    for at in entries:
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        if kind in (3, 4) and number:
            inside = number * (2 if kind == 3 else 4) <= 4
            place = at + 8 if inside else struct.unpack_from(f"{order}I", data, at + 8)[0]
            found[tag] = order, "H" if kind == 3 else "I", number, place
    return found


def _entries(data: bytes, start: int | None = None) -> tuple[str, range]:
    """Return the byte order as a `struct` prefix, and the offsets of the entries of a directory, by default the first one."""
    order = "<" if data[:2] == b"II" else ">"
    if start is None:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    return order, range(start + 2, start + 2 + 12 * count, 12)


def has_pages(data: bytes) -> bool:
    """Return whether a second directory declares another page, not a mask or a smaller copy of the first; data may end early."""
    try:
        order, entries = _entries(data)
        (start,) = struct.unpack_from(f"{order}I", data, entries.stop)
        kind = _located(data, start).get(SUBFILE) if start else None
        return bool(start) and (kind is None or struct.unpack_from(f"{kind[0]}{kind[1]}", data, kind[3])[0] in (0, 2))
    except struct.error:
        return False


def grey_files(data: bytes, bands: Sequence[int]) -> list[bytes]:
    """Return the file with another first directory: as one wide grey image, or as the grey images of `bands` if each is stored as a whole.

    Raises a Flaw if the layout isn't supported, or the data ends early.
    """
    tags = directory(data)
    try:
        _check(data, tags)
    except struct.error:
        raise Flaw("is cut short: its directory ends early", "truncated") from None
    samples, planar = tags.get(SAMPLES, 1), tags.get(PLANAR, 1) == 2
    if not planar:
        return [_grey_file(data, tags, samples)]
    return [_grey_file(data, tags, 1, band, samples) for band in bands]


def bands_of(grey: Sequence[NDArray[np.generic]], data: bytes, bands: Sequence[int]) -> NDArray[np.generic]:
    """Return the bands [H, W, len(bands)] of the arrays that OpenCV returns for `grey_files(data, bands)`.

    A file with a predictor (TIFF 6.0, section 14) stores each sample as the difference from the same sample of the pixel to its left,
    within each tile. The directory of a wide image declares no predictor, so the differences are summed here.
    """
    tags = directory(data)
    if tags.get(PLANAR, 1) == 2:
        return np.stack(grey, axis=2)
    stored: NDArray[Any] = grey[0].reshape(grey[0].shape[0], -1, tags.get(SAMPLES, 1))[..., list(bands)]
    if tags.get(PREDICTOR, 1) == 2:
        width = int(stored.shape[1])
        tile = tags.get(TILE_WIDTH) or width
        parts = [np.cumsum(stored[:, at : at + tile], axis=1, dtype=stored.dtype) for at in range(0, width, tile)]
        return np.concatenate(parts, axis=1)
    return stored


def _check(data: bytes, tags: Mapping[int, int]) -> None:
    """Raise a Flaw unless `grey_files` supports an image with the values `tags` in its directory."""
    known = tags.get(DEPTH) in (8, 16) and tags.get(COMPRESSION, 1) in _BYTEWISE and tags.get(PREDICTOR, 1) in (1, 2)
    ordinary = tags.get(PLANAR, 1) in (1, 2) and tags.get(SAMPLE_FORMAT, 1) == 1 and tags.get(TILE_WIDTH, 1) > 0
    chunks = {TILE_OFFSETS, TILE_BYTES} if TILE_WIDTH in tags else {STRIP_OFFSETS, STRIP_BYTES}
    if not known or not ordinary or not chunks <= tags.keys():
        raise Flaw("is a TIFF whose bands are stored in a layout that OpenCV can't read. Save it as PNG", "unreadable")
    # offsets past the end would point into the directory that is appended
    offsets, sizes = (values(data, tag) for tag in sorted(chunks))
    if max(map(operator.add, offsets, sizes)) > len(data):
        raise Flaw("is cut short: its pixels run past the end", "truncated")


def _grey_file(data: bytes, tags: Mapping[int, int], factor: int, band: int = 0, bands: int = 1) -> bytes:
    """Return the file with a new first directory of a grey image that is `factor` times wider, with the chunks of one of `bands`."""
    order, places = _entries(data)
    entries = {struct.unpack_from(f"{order}H", data, at)[0]: data[at : at + 12] for at in places}
    entries = {tag: entry for tag, entry in entries.items() if tag in (*_KEPT, PREDICTOR if factor == 1 else SAMPLES)}
    new = {WIDTH: factor * tags[WIDTH], DEPTH: tags[DEPTH], PHOTOMETRIC: 1, SAMPLES: 1}
    new |= {TILE_WIDTH: factor * tags[TILE_WIDTH]} if TILE_WIDTH in tags else {}
    for tag, value in new.items():
        entries[tag] = struct.pack(f"{order}HHII", tag, 4, 1, value)  # the type LONG is valid for all of these tags
    for tag, (_, kind, total, place) in _located(data).items():
        if tag in _CHUNKS:
            count, size = total // bands, 2 if kind == "H" else 4
            at = place + band * count * size
            stored = data[at : at + count * size].ljust(4, b"\0") if count * size <= 4 else struct.pack(f"{order}I", at)
            entries[tag] = struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, count) + stored
    body = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    padding = bytes(len(data) % 2)  # directories start at an even offset
    return data[:4] + struct.pack(f"{order}I", len(data) + len(padding)) + data[8:] + padding + body
