"""Read TIFF directories (TIFF 6.0, section 2), and work around a limitation to make OpenCV decode grey images with alpha.

OpenCV drops the alpha channel of a grey TIFF. Grey and alpha samples alternate in such a file, so it can be decoded as a grey image of
twice the width. The workaround keeps the strips and adds a directory that declares this width. OpenCV and its checks remain the only
decoder, and 16-bit samples need no special case.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw

WIDTH, HEIGHT, DEPTH, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 274, 277
FILL_ORDER, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTES = 266, 273, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, EXTRA_SAMPLES, SAMPLE_FORMAT = 284, 317, 322, 338, 339
_KEPT = (WIDTH, HEIGHT, DEPTH, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES)
_BYTEWISE = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, old deflate: compressions that don't depend on the pixel layout
_PREMULTIPLIED, _STRAIGHT = 1, 2


def directory(data: bytes) -> dict[int, int]:
    """Return the first value of every SHORT and LONG entry of the first directory, by tag; raise a struct.error if the data ends early."""
    return {tag: struct.unpack_from(f"{order}{kind}", data, place)[0] for tag, (order, kind, _, place) in _located(data).items()}


def _located(data: bytes) -> dict[int, tuple[str, str, int, int]]:
    """Return the byte order and type (`struct` characters), number and offset of the values of SHORT and LONG entries, by tag."""
    order, entries = _entries(data)
    found: dict[int, tuple[str, str, int, int]] = {}
    for at in entries:
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        if kind in (3, 4) and number:
            inside = number * (2 if kind == 3 else 4) <= 4
            place = at + 8 if inside else struct.unpack_from(f"{order}I", data, at + 8)[0]
            found[tag] = order, "H" if kind == 3 else "I", number, place
    return found


def _entries(data: bytes) -> tuple[str, range]:
    """Return the byte order as a `struct` prefix, and the offsets of the entries of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    return order, range(start + 2, start + 2 + 12 * count, 12)


def check_grey_alpha(data: bytes, tags: Mapping[int, int]) -> None:
    """Raise a Flaw unless an image with two samples per pixel, with the values `tags` in its directory, can be decoded with `widened`."""
    if tags.get(EXTRA_SAMPLES, 0) not in (_PREMULTIPLIED, _STRAIGHT):
        raise Flaw("is a TIFF with a second sample per pixel that isn't declared as alpha. Save it as grey, or as PNG", "unreadable")
    ordinary = tags.get(PHOTOMETRIC), tags.get(PLANAR, 1), tags.get(SAMPLE_FORMAT, 1), TILE_WIDTH in tags
    known = tags.get(DEPTH) in (8, 16) and tags.get(COMPRESSION, 1) in _BYTEWISE and tags.get(PREDICTOR, 1) in (1, 2)
    if ordinary != (1, 1, 1, False) or not known or not {STRIP_OFFSETS, STRIP_BYTES} <= tags.keys():
        raise Flaw("is a grey TIFF with alpha in a layout that OpenCV can't read. Save it as PNG", "unreadable")
    # offsets past the end would point into the directory that `widened` appends
    kept = {tag: entry for tag, entry in _located(data).items() if tag in _KEPT}
    values = {tag: struct.unpack_from(f"{order}{number}{kind}", data, place) for tag, (order, kind, number, place) in kept.items()}
    ends = map(operator.add, values[STRIP_OFFSETS], values[STRIP_BYTES])
    if max(ends) > len(data):
        raise Flaw("is cut short: its pixels run past the end", "truncated")


def widened(data: bytes) -> bytes:
    """Convert a grey file with alpha to a grey file of twice the width without alpha, by appending a new first directory."""
    order, places = _entries(data)
    tags = directory(data)
    entries = {struct.unpack_from(f"{order}H", data, at)[0]: data[at : at + 12] for at in places}
    entries = {tag: entry for tag, entry in entries.items() if tag in _KEPT}  # without predictor (see `pairs`) and orientation
    for tag, value in ((WIDTH, 2 * tags[WIDTH]), (DEPTH, tags[DEPTH]), (SAMPLES, 1)):
        entries[tag] = struct.pack(f"{order}HHII", tag, 4, 1, value)  # the type LONG is valid for all of these tags
    body = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    padding = bytes(len(data) % 2)  # directories start at an even offset
    return data[:4] + struct.pack(f"{order}I", len(data) + len(padding)) + data[8:] + padding + body


def pairs(wide: NDArray[np.generic], data: bytes) -> NDArray[np.generic]:
    """Split the array that OpenCV returns for `widened(data)` into grey and alpha: [H, 2 W] to [H, W, 2].

    A file with a predictor (TIFF 6.0, section 14) stores each sample as the difference from the same sample of the pixel to its left. The
    directory added by `widened` declares no predictor, so the differences are summed here.
    """
    stored = wide.reshape(wide.shape[0], -1, 2)
    return np.cumsum(stored, axis=1, dtype=wide.dtype) if directory(data).get(PREDICTOR, 1) == 2 else stored
