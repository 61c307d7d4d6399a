"""Parse image file headers (format, size, orientation, bit depth), and check that the file is complete.

The parsers extract only the properties that the decoder needs, which takes tens of microseconds. They don't use a library that emits
warnings, caches results or has global limits. They raise `Flaw` with the reason, and `zoo.images.decoding` adds the file's name.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from zoo.errors import Flaw
from zoo.images import jpeg, pillow, png, tiff
from zoo.images.header import FORMATS, Header
from zoo.images.unsupported import describe

MAX_PIXELS = 100_000_000  # default limit on width × height

_EXIF = b"Exif\0\0"


def parse(data: bytes, whole: bool = True) -> Header:
    """Parse the header of an image file from the content of the whole file, and check that its container is complete.

    With `whole=False`, `data` may be the beginning of a file, and completeness and checksums aren't checked. If the header extends beyond
    the end of `data`, the `kind` of the Flaw is "truncated".

    Raises a Flaw if the file is empty, in an unsupported format, damaged or truncated. The reason continues a sentence that begins with the
    file's name.
    """
    if not data:
        raise _unreadable("is empty (0 bytes)")
    for pattern, read in _FORMATS:
        if pattern.match(data):
            try:
                header = read(data, whole)
            except (struct.error, IndexError):
                raise _cut_short(f"its header ends early ({len(data)} bytes in total)") from None
            if header.height < 1 or header.width < 1:
                raise _unreadable(f"is damaged: its header declares a size of {header.width}×{header.height} pixels")
            return header
    raise _unreadable(f"is {describe(data)}; expected one of {', '.join(FORMATS)}. Convert it, or remove it")


def is_image(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of a supported image format."""
    return any(pattern.match(start) for pattern, _ in _FORMATS)


def _cut_short(how: str) -> Flaw:
    return Flaw(f"is cut short: {how}", "truncated")


def _unreadable(reason: str) -> Flaw:
    return Flaw(reason, "unreadable")


def _jpeg(data: bytes, whole: bool) -> Header:
    markers = jpeg.parse(data)
    open_end = whole and not jpeg.ended(data, markers)
    if open_end and next(jpeg.completed(data, markers), None) is None:
        raise _cut_short("its end marker is missing")
    assumed = "all of its pixels but no end marker, so other programs may refuse it" if open_end else ""
    return Header("JPEG", markers.height, markers.width, exif_orientation(markers.exif), assumed=assumed)


def _png(data: bytes, whole: bool) -> Header:
    """Parse a PNG file, and check the length and checksum of every chunk (W3C PNG, third edition, section 5)."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, alpha, key, ended, several = 1, colour in (4, 6), None, False, False
    for kind, body in _png_chunks(data, whole):
        if kind == b"tRNS":
            alpha = colour != 0
            # OpenCV ignores the transparent grey value, but expands samples of 1, 2 and 4 bits to 8 bits
            key = _be16(data, body.start) * (255 // (2**depth - 1) if depth < 8 else 1) if colour == 0 else None
        elif kind == b"eXIf":
            orientation = exif_orientation(data[body])
        several |= kind == b"acTL" and struct.unpack_from(">I", data, body.start)[0] > 1
        ended = kind == b"IEND"
    # whether all rows are present is checked when the image is decoded, after its size
    assumed = "all of its pixels but no end chunk, so other programs may refuse it" if whole and not ended else ""
    peak = 65535 if depth == 16 else 255
    return Header("PNG", height, width, orientation, peak, alpha, transparent_grey=key, several=several, assumed=assumed)


def _png_chunks(data: bytes, whole: bool) -> Iterator[tuple[bytes, slice]]:
    """Yield the type of every chunk up to IEND, or up to the image data of a partial file, and the position of its body."""
    view, at = memoryview(data), 8
    while not png.is_end(data, at):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if kind == b"IDAT" and not whole:
            return
        if end + 4 > len(data):
            raise _cut_short(f"the chunk {kind.decode('latin-1')} at byte {at} runs past the end")
        if whole and zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise _unreadable(f"is damaged: the checksum of the chunk {kind.decode('latin-1')!r} at byte {at} is wrong")
        yield kind, slice(at + 8, end)
        if kind == b"IEND":
            return
        at = end + 4


def _webp(data: bytes, whole: bool) -> Header:
    """Parse the RIFF container of a WebP file (RFC 9649)."""
    kind = data[12:16]
    # the orientation stands behind the image data; some programs don't write the last byte, which is padding
    missing = struct.unpack_from("<I", data, 4)[0] + 8 - len(data)
    if (whole or (kind == b"VP8X" and data[20] & 0x08)) and missing > webp_padding(data):
        raise _cut_short(f"its container declares {struct.unpack_from('<I', data, 4)[0] + 8} bytes, but the file has {len(data)}")
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", height & 0x3FFF, width & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, alpha=bool(bits >> 28 & 1))
    if kind != b"VP8X":
        raise _unreadable(f"is damaged: its first chunk is {kind.decode('latin-1')!r}; expected VP8, VP8L or VP8X")
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    return Header("WebP", height, width, _webp_orientation(data), alpha=bool(data[20] & 0x10), several=bool(data[20] & 0x02))


def webp_padding(data: bytes) -> int:
    """Return 1 if only the byte that pads the last chunk of a WebP file to an even length is missing, else 0."""
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length == len(data):
            return int(length) & 1
        at += 8 + length + (length & 1)
    return 0


def _webp_orientation(data: bytes) -> int:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data.startswith(b"EXIF", at):
            return exif_orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + (length & 1)
    return 1


def _bmp(data: bytes, whole: bool) -> Header:
    """Parse the information header of a BMP file in the Windows or OS/2 layout."""
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header("BMP", height, width)
    width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    # alpha is declared by the fourth colour mask, which a header of 40 bytes doesn't have
    masked = packing in (3, 6) and struct.unpack_from("<I", data, 14)[0] > 52
    return Header("BMP", abs(height), width, alpha=bits == 32 and masked and struct.unpack_from("<I", data, 66)[0] > 0)


def _tiff(data: bytes, whole: bool) -> Header:
    """Parse the first directory of a TIFF file."""
    tags = tiff.directory(data)
    if tiff.WIDTH not in tags or tiff.HEIGHT not in tags:
        raise _unreadable("is damaged: its first directory declares no size")
    depth, samples, extra = tags.get(tiff.DEPTH, 1), tags.get(tiff.SAMPLES, 1), tags.get(tiff.EXTRA_SAMPLES)
    width, height, turned = tags[tiff.WIDTH], tags[tiff.HEIGHT], tags.get(tiff.ORIENTATION, 1)
    turned, kind, deep = turned if 1 <= turned <= 8 else 1, tags.get(tiff.PHOTOMETRIC, 1), depth == 16
    if tags.get(tiff.SUBFILE, 0) & 1 or kind in tiff.RAW or data.startswith(b"CR\2", 8):
        raise _unreadable("is a camera's raw file, or another TIFF whose first image is a small copy. Develop it, or convert it to JPEG")
    if kind in tiff.LAB:
        raise _unreadable("is a TIFF in CIELAB colours. Save it as RGB")
    if depth > 16 or tags.get(tiff.SAMPLE_FORMAT) == 3:
        raise _unreadable(f"is a TIFF with {depth} bits per sample; expected 8 or 16. Scale the samples and save it as PNG")
    if deep and kind not in (0, 1, 2, 3) and samples > 1:
        raise _unreadable("is a TIFF with 16 bits per sample that is neither grey nor RGB. Save it as RGB")
    bands = _bands(kind, samples, tiff.values(data, tiff.EXTRA_SAMPLES), deep and tags.get(tiff.PLANAR, 1) == 2)
    header = Header("TIFF", height, width, peak=65535 if deep else 255, samples=samples, bands=bands, several=tiff.has_pages(data))
    if bands or bands is None:
        alpha, rgb = bands is not None and len(bands) in (2, 4), bands == (0, 1, 2) and (samples > 3 or kind == 1)
        return replace(header, orientation=turned, alpha=alpha, premultiplied=extra == 1, assumed=_first(samples) if rgb else "")
    # OpenCV applies the orientation of a TIFF regardless of the decoding flags, so only height and width are swapped here
    if turned >= 5:
        width, height = height, width
    # 8-bit samples: libtiff's RGBA reader multiplies by declared straight alpha, and inverts images in which 0 is white; 16-bit samples are
    # not converted
    premultiplied = extra == 1 or (extra == 2 and not deep)
    alpha, inverted = kind == 2 and samples == 4, deep and kind == 0
    return replace(header, height=height, width=width, turned=turned, alpha=alpha, premultiplied=premultiplied, inverted=inverted)


def _first(count: int) -> str:
    return f"{count} bands, of which 0, 1 and 2 are read as red, green and blue (?bands= chooses others)"


def _bands(kind: int, samples: int, extras: tuple[int, ...], deep_planes: bool) -> tuple[int, ...] | None:
    """Return the stored samples of a TIFF that are grey or RGB, and alpha: () if OpenCV decodes all; None if they must be chosen.

    Args:
        kind: photometric interpretation.
        samples: number of samples per pixel.
        extras: declarations of the extra samples: 0 for unspecified data, 1 or 2 for alpha.
        deep_planes: whether each band of 16-bit samples is stored as a whole, which OpenCV misreads.
    """
    if kind == 2 and samples in (3, 4):
        return (0, 1, 2) if extras == (0,) else tuple(range(samples)) if deep_planes else ()
    alpha = not {tiff.PREMULTIPLIED, tiff.STRAIGHT}.isdisjoint(extras)
    if kind == 1 and samples == 2 and alpha:
        return 0, 1
    if kind == 1 and samples == 3 and not alpha:
        return 0, 1, 2  # RGB of 16 bits as GDAL writes it by default
    return () if samples == 1 or (kind not in (0, 1, 2) and samples <= 4) else None


def exif_orientation(block: bytes) -> int:
    """Return the orientation (1 to 8) declared by an EXIF block, or 1 if the block is unreadable."""
    block = block.removeprefix(_EXIF)
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        value = tiff.directory(block).get(tiff.ORIENTATION, 1)
    except struct.error:
        return 1
    return value if 1 <= value <= 8 else 1


def _pnm(data: bytes, whole: bool) -> Header:
    match = _PNM.match(data[:4096])
    if match is None:
        raise _unreadable("is damaged: the first two characters are not followed by a width and a height")
    kind, width, height, peak = (int(group) if group else 0 for group in match.groups())
    if kind in (1, 4):  # bitmaps don't declare a maximum value
        return Header("PNM", height, width)
    if not 1 <= peak <= 65535:
        raise _unreadable(f"is damaged: its header declares {peak} as the maximum value; expected 1 to 65535")
    return Header("PNM", height, width, peak=peak)


def _gif(data: bytes, whole: bool) -> Header:
    height, width, several = pillow.gif(data, whole)
    return Header("GIF", height, width, several=several)


def _jpeg2000(data: bytes, whole: bool) -> Header:
    height, width, deep, bands = pillow.jpeg2000(data, whole)
    header = Header("JPEG 2000", height, width, peak=65535 if deep else 255)
    if bands == 2:
        return replace(header, samples=2, bands=None)
    return replace(header, samples=4, bands=(0, 1, 2), assumed=_first(4)) if bands == 4 else header


def _boxed(format_: str, data: bytes, whole: bool) -> Header:
    try:
        height, width, orientation, several = pillow.boxed(data, format_)
    except Flaw as flaw:
        raise flaw if whole else _cut_short("its boxes go on") from None
    return Header(format_, height, width, orientation, several=several)


def _be16(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">H", data, at)[0])


_GAP = rb"(?:\s|#[^\r\n]*[\r\n])"
_PNM = re.compile(rb"P([1-6])" + _GAP + rb"+(\d{1,9})" + _GAP + rb"+(\d{1,9})(?:" + _GAP + rb"+(\d{1,9}))?" + rb"\s")

_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[bytes, bool], Header]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), _bmp),
    (re.compile(rb"II\*\0|MM\0\*"), _tiff),
    (re.compile(rb"P[1-6][\s#]"), _pnm),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"....ftyp(?:avi[fs]|mi[af]f|mi[fs]1.{4}(?:.{4}){0,8}?avi[fs])", re.DOTALL), partial(_boxed, "AVIF")),
    (re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mi[fs]1|msf1)", re.DOTALL), partial(_boxed, "HEIC")),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), _jpeg2000),
)
