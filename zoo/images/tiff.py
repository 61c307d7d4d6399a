"""TIFF directories (TIFF 6.0, section 2), and the trick by which OpenCV reads grey with alpha.

OpenCV drops the alpha of a grey TIFF. Grey and alpha stand side by side in the file, so it is read as a grey picture of twice the width:
the same strips, under a directory that says so. OpenCV stays the one decoder, with its checks, and 16 bits need no case of their own.
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
_BYTEWISE = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, old deflate: they know nothing of pixels
_PREMULTIPLIED, _STRAIGHT = 1, 2


def directory(data: bytes) -> dict[int, int]:
    """Return the first value of every SHORT and LONG entry of the first directory.

    Raises:
        struct.error: the data ends early.
    """
    order, entries = _entries(data)
    tags: dict[int, int] = {}
    for at in entries:
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        if kind in (3, 4) and number:
            width = 2 if kind == 3 else 4
            place = at + 8 if number * width <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
            tags[tag] = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, place)[0]
    return tags


def _values(data: bytes, wanted: int) -> tuple[int, ...]:
    """Return all values of an entry that `directory` has found."""
    order, entries = _entries(data)
    at = next(at for at in entries if struct.unpack_from(f"{order}H", data, at)[0] == wanted)
    _, kind, number = struct.unpack_from(f"{order}HHI", data, at)
    form = f"{order}{number}{'H' if kind == 3 else 'I'}"
    return struct.unpack_from(form, data, at + 8 if struct.calcsize(form) <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0])


def _entries(data: bytes) -> tuple[str, range]:
    """Return the byte order, as `struct` has it, and where the entries of the first directory are."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    return order, range(start + 2, start + 2 + 12 * count, 12)


def check_grey_alpha(data: bytes, tags: Mapping[int, int]) -> None:
    """Refuse two samples per pixel that `widened` can't make readable.

    Args:
        data: the whole file.
        tags: its directory.

    Raises:
        Flaw: a second sample that is not called alpha, a rare layout, or pixels that the file doesn't reach to.
        struct.error: the data ends within a value of the directory.
    """
    if tags.get(EXTRA_SAMPLES, 0) not in (_PREMULTIPLIED, _STRAIGHT):
        raise Flaw("is a TIFF with a second sample per pixel that it doesn't call alpha. Save it as grey, or as PNG", "unreadable")
    ordinary = tags.get(PHOTOMETRIC), tags.get(PLANAR, 1), tags.get(SAMPLE_FORMAT, 1), TILE_WIDTH in tags
    known = tags.get(DEPTH) in (8, 16) and tags.get(COMPRESSION, 1) in _BYTEWISE and tags.get(PREDICTOR, 1) in (1, 2)
    if ordinary != (1, 1, 1, False) or not known or not {STRIP_OFFSETS, STRIP_BYTES} <= tags.keys():
        raise Flaw("is a grey TIFF with alpha in a layout that OpenCV can't read. Save it as PNG", "unreadable")
    # what lies beyond the end must not be looked for in the directory that `widened` adds there
    values = {tag: _values(data, tag) for tag in _KEPT if tag in tags}
    ends = map(operator.add, values[STRIP_OFFSETS], values[STRIP_BYTES])
    if max(ends) > len(data):
        raise Flaw("is cut short: its pixels run past the end", "truncated")


def widened(data: bytes) -> bytes:
    """Return a file of grey with alpha as one of grey alone, twice as wide: with another first directory, added at the end."""
    order, places = _entries(data)
    tags = directory(data)
    entries = {struct.unpack_from(f"{order}H", data, at)[0]: data[at : at + 12] for at in places}
    entries = {tag: entry for tag, entry in entries.items() if tag in _KEPT}  # neither predictor nor orientation: see `pairs`
    for tag, value in ((WIDTH, 2 * tags[WIDTH]), (DEPTH, tags[DEPTH]), (SAMPLES, 1)):
        entries[tag] = struct.pack(f"{order}HHII", tag, 4, 1, value)  # LONG will do for all of them
    body = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    padding = bytes(len(data) % 2)  # a directory begins at an even byte
    return data[:4] + struct.pack(f"{order}I", len(data) + len(padding)) + data[8:] + padding + body


def pairs(wide: NDArray[np.generic], data: bytes) -> NDArray[np.generic]:
    """Return grey and alpha, [H, W, 2], of what OpenCV made of `widened(data)`, [H, 2 W].

    The predictor (section 14: each sample is stored as the difference from its left neighbour) counts in pixels, and is undone here.
    """
    stored = wide.reshape(wide.shape[0], -1, 2)
    return np.cumsum(stored, axis=1, dtype=wide.dtype) if directory(data).get(PREDICTOR, 1) == 2 else stored
