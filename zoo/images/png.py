"""Complete PNGs that end without their end chunk (W3C PNG, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib

from zoo.errors import Flaw

IEND = b"\0\0\0\0IEND\xaeB`\x82"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7: x, y, dx, dy
_STEP = 1 << 20


def is_end(data: bytes, at: int) -> bool:
    """Return whether the chunks end at an offset, possibly with a part of the end chunk."""
    return at >= len(data) or (at > 8 and len(data) - at < len(IEND) and IEND.startswith(data[at:]))


def completed(data: bytes) -> bytes:
    """Return a file, whose chunks are sound, with an end chunk; raise a Flaw if it has none and rows are missing, too."""
    at = 8
    while not is_end(data, at):
        if data.startswith(b"IEND", at + 4):
            return data
        at += 12 + int(struct.unpack_from(">I", data, at)[0])
    if not _has_all_rows(data):
        raise Flaw("is cut short: its end chunk IEND is missing, and so are pixels. Replace the file, or remove it", "truncated")
    return data[:at] + IEND


def _has_all_rows(data: bytes) -> bool:
    """Return whether the image data of a file, whose chunks are sound, decompress to all rows of the image."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _CHANNELS.get(colour, 4)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES] if interlaced else [(width, height)]
    wanted = sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)
    inflate, at, count = zlib.decompressobj(), 8, 0
    try:
        while not is_end(data, at):
            (length,) = struct.unpack_from(">I", data, at)
            rest = data[at + 8 : at + 8 + length] if data.startswith(b"IDAT", at + 4) else b""
            while rest and count < wanted:  # in steps, so that a bomb isn't unpacked
                count += len(inflate.decompress(rest, _STEP))
                rest = inflate.unconsumed_tail
            at += 12 + length
    except (zlib.error, struct.error):
        return False
    return bool(count >= wanted)
