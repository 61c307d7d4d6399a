"""Parse JPEG markers (ITU-T T.81, annex B), and complete files whose end marker is missing or padded.

Whether all pixels of such a file are present is decided by decoding: libjpeg reports when a scan ends before its last row.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from zoo.errors import Flaw

END = b"\xff\xd9"
_EXIF = b"Exif\0\0"
_COUNTED = re.compile(r"(\d+) extraneous bytes before marker 0x(?!d[0-7])")  # the decoder resynchronises at restart markers
_TOLERATED = 16  # bytes of any value that some cameras write before a marker
_DATA = 2  # zeros at the end of a file that may be data of a scan
_SCAN = re.compile(rb"\xff+\xda", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Markers:
    """Properties that the markers before the first scan declare."""

    height: int
    width: int
    exif: bytes  # the EXIF block; b"" if there is none
    scan: int  # offset of the first scan's header, which follows its marker
    components: int
    huffman: bool  # baseline, extended or progressive Huffman coding, for which libjpeg reports missing data


def parse(data: bytes) -> Markers:
    """Parse the markers up to the first scan; raise a Flaw if there is none, or a struct.error or an IndexError if the file ends early."""
    at, exif, size, components, kind = 2, b"", None, 0, 0
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            raise Flaw("is cut short: it ends before its image data", "truncated")
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # padding, and markers without a length
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise Flaw("is damaged: it ends before its image data", "unreadable")
        start, at = at + 4, at + 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            kind, size, components = marker, struct.unpack_from(">HH", data, start + 1), data[start + 5]
        elif marker == 0xE1 and data.startswith(_EXIF, start):
            exif = data[start:at]
        elif marker == 0xDA:
            break
    if size is None:
        raise Flaw("is damaged: its image data comes before its size", "unreadable")
    return Markers(size[0], size[1], exif, start, components, kind in (0xC0, 0xC1, 0xC2))


def ended(data: bytes, markers: Markers) -> bool:
    """Return whether the end marker is present.

    Within a scan, every FF is followed by 00, so FF D9 can only be the end marker. That of a thumbnail precedes the scan.
    """
    return data.rfind(END, markers.scan) >= 0


def completed(data: bytes, markers: Markers) -> Iterator[bytes]:
    """Yield a file without an end marker with its padding replaced by one, as in `_unpadded`.

    Nothing is yielded if data of some coefficients is certainly missing. Decoding the results reports all other missing data.
    """
    if markers.huffman and len(_finished(data, markers)) == markers.components:
        yield from (body + END for body in _unpadded(data))


def unpadded(data: bytes, markers: Markers, message: str) -> Iterator[bytes]:
    """Yield the file without the zeros before its end marker, as in `_unpadded`.

    Nothing is yielded unless libjpeg's `message` reports as many extraneous bytes.
    """
    counted = _COUNTED.match(message)
    end = data.find(END, markers.scan)
    if counted is not None and end - len(data[:end].rstrip(b"\0")) >= int(counted[1]):
        yield from (body + data[end:] for body in _unpadded(data[:end]))


def _unpadded(data: bytes) -> Iterator[bytes]:
    """Yield data of a scan without the padding after it, then with the bytes that look like padding but may be data.

    Zeros must be removed first, because they are valid Huffman codes: a file whose second half is zeros would otherwise decode to an image
    of the right size. But the last byte of a scan may be FF, which is followed by a zero, and that of one scan in some hundreds is zero.
    """
    body = data.rstrip(b"\0")
    zeros = len(data) - len(body)
    yield body.rstrip(b"\xff")
    if zeros and body.endswith(b"\xff"):
        yield body + b"\0"
    elif 0 < zeros <= _DATA:
        yield data


def harmless(message: str) -> bool:
    """Return whether a warning of libjpeg only reports a few bytes that belong to no scan."""
    counted = _COUNTED.match(message)
    return counted is not None and int(counted[1]) <= _TOLERATED


def _finished(data: bytes, markers: Markers) -> set[int]:
    """Return the components for which some scan contains the last bits of each of the 64 coefficients."""
    seen: dict[int, set[int]] = defaultdict(set)
    for at in _scans(data, markers):
        count = data[at + 2]
        first, last, bits = data[at + 3 + 2 * count : at + 6 + 2 * count]
        if bits & 15 == 0:
            for component in data[at + 3 : at + 3 + 2 * count : 2]:
                seen[component].update(range(first, last + 1))
    return {component for component, coefficients in seen.items() if len(coefficients) == 64}


def _scans(data: bytes, markers: Markers) -> Iterator[int]:
    """Yield the offset of each complete scan header. Within scans, FF is followed by 00, so that a scan's marker is unique there."""
    at = markers.scan - 2
    while at + 2 < len(data):
        if at + 6 + 2 * data[at + 2] <= len(data):
            yield at
        found = _SCAN.search(data, at)
        if found is None:
            return
        at = found.end()
