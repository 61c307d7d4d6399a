"""Parse image file headers (format, size, orientation, bit depth), and check that the file is complete.

The parsers extract only the properties that the decoder needs, which takes tens of microseconds. They don't use a library that emits
warnings, caches results or has global limits. They raise `Flaw` with the reason, and `zoo.images.decoding` adds the file's name.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zoo.errors import Flaw
from zoo.images import tiff

MAX_PIXELS = 100_000_000  # default limit on width × height

_EXIF = b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class Header:
    """Header of an image file."""

    format: str  # "JPEG", "PNG", "WebP", "BMP", "TIFF" or "PNM"
    height: int  # in pixels as stored, before orientation
    width: int
    orientation: int = 1  # EXIF orientation, 1 to 8
    peak: int = 255  # maximum sample value: 255, 65535, or the maximum declared by a PGM or PPM file
    alpha: bool = False  # whether the image has an alpha channel or a transparent colour
    premultiplied: bool = False  # whether the colours that OpenCV returns are already multiplied by alpha
    transparent_grey: int | None = None  # 8-bit or 16-bit grey value that a PNG declares as transparent
    paired: bool = False  # whether the file is a grey TIFF with alpha, which must be converted by `tiff.widened` before decoding
    inverted: bool = False  # whether 0 is white in the array that OpenCV returns
    turned: int = 1  # orientation of a TIFF, which OpenCV applies; `height` and `width` are those after it

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width after orientation, in pixels."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def declared(self) -> int:
        """Orientation declared by the file, 1 to 8, regardless of who applies it."""
        return max(self.orientation, self.turned)


def parse(data: bytes, whole: bool = True) -> Header:
    """Parse the header of an image file from the content of the whole file, and check that its container is complete.

    With `whole=False`, `data` may be the beginning of a file, and completeness and checksums aren't checked. If the header goes on behind
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
    raise _unreadable(f"is {describe(data)}; expected JPEG, PNG, WebP, BMP, TIFF, PGM or PPM. Convert it, or remove it")


def describe(data: bytes) -> str:
    """Describe, for an error message, the likely type of a file that isn't a supported image, judged by its content."""
    for pattern, words in _OTHERS:
        if pattern.match(data):
            return words
    if b"\0" not in data[:512]:
        try:
            return f"text ({data[:24].decode('ascii')!r}…)"
        except UnicodeDecodeError:
            pass
    return f"of an unknown format (it starts with {data[:8].hex(' ')})"


def _cut_short(how: str) -> Flaw:
    return Flaw(f"is cut short: {how}", "truncated")


def _unreadable(reason: str) -> Flaw:
    return Flaw(reason, "unreadable")


def _jpeg(data: bytes, whole: bool) -> Header:
    """Parse the JPEG markers up to the first scan (ITU-T T.81, annex B)."""
    at, orientation, size = 2, 1, None
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            raise _cut_short("it ends before its image data")
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # padding, and markers without a length
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise _unreadable("is damaged: it ends before its image data")
        start, at = at + 4, at + 2 + _be16(data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HH", data, start + 1)
        elif marker == 0xE1 and data.startswith(_EXIF, start):
            orientation = exif_orientation(data[start:at])
        elif marker == 0xDA:
            break
    if size is None:
        raise _unreadable("is damaged: its image data comes before its size")
    # within a scan, every FF is followed by 00, so FF D9 can only be the end marker; a thumbnail's end marker precedes the scan
    if whole and data.rfind(b"\xff\xd9", at) < 0:
        raise _cut_short("its end marker is missing")
    return Header("JPEG", size[0], size[1], orientation)


def _png(data: bytes, whole: bool) -> Header:
    """Parse a PNG file, and check the length and checksum of every chunk (W3C PNG, third edition, section 5)."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, alpha, key, ended = 1, colour in (4, 6), None, False
    for kind, body in _png_chunks(data, whole):
        if kind == b"tRNS":
            alpha = colour != 0
            # OpenCV ignores the transparent grey value, but expands samples of 1, 2 and 4 bits to 8 bits
            key = _be16(data, body.start) * (255 // (2**depth - 1) if depth < 8 else 1) if colour == 0 else None
        elif kind == b"eXIf":
            orientation = exif_orientation(data[body])
        ended = kind == b"IEND"
    if whole and not ended:
        raise _cut_short("its end chunk IEND is missing")
    return Header("PNG", height, width, orientation, 65535 if depth == 16 else 255, alpha, transparent_grey=key)


def _png_chunks(data: bytes, whole: bool) -> Iterator[tuple[bytes, slice]]:
    """Yield the type of every chunk up to IEND, or up to the image data of a partial file, and the position of its body."""
    view, at = memoryview(data), 8
    while at < len(data):
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
    # the orientation stands behind the image data
    if (whole or (kind == b"VP8X" and data[20] & 0x08)) and len(data) < struct.unpack_from("<I", data, 4)[0] + 8:
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
    return Header("WebP", height, width, _webp_orientation(data), alpha=bool(data[20] & 0x10))


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
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    return Header("BMP", abs(height), width, alpha=bits == 32)


def _tiff(data: bytes, whole: bool) -> Header:
    """Parse the first directory of a TIFF file."""
    tags = tiff.directory(data)
    if tiff.WIDTH not in tags or tiff.HEIGHT not in tags:
        raise _unreadable("is damaged: its first directory declares no size")
    depth, samples, extra = tags.get(tiff.DEPTH, 1), tags.get(tiff.SAMPLES, 1), tags.get(tiff.EXTRA_SAMPLES, 0)
    width, height, turned = tags[tiff.WIDTH], tags[tiff.HEIGHT], tags.get(tiff.ORIENTATION, 1)
    turned = turned if 1 <= turned <= 8 else 1
    if depth > 16:
        raise _unreadable(f"is a TIFF with {depth} bits per sample; expected 8 or 16. Scale the samples and save it as PNG")
    peak = 65535 if depth == 16 else 255
    if samples == 2:
        tiff.check_grey_alpha(data, tags)
        return Header("TIFF", height, width, turned, peak, True, extra == 1, paired=True)
    # OpenCV applies the orientation of a TIFF regardless of the decoding flags, so only height and width are swapped here
    if turned >= 5:
        width, height = height, width
    kind = tags.get(tiff.PHOTOMETRIC, 1)
    # 8-bit samples: libtiff's RGBA reader multiplies by alpha, and inverts images in which 0 is white; 16-bit samples are not converted
    stored = depth == 16
    return Header(
        "TIFF", height, width, 1, peak, kind == 2 and samples == 4, not stored or extra == 1, inverted=stored and kind == 0, turned=turned
    )


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
)

_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), words)
    for pattern, words in (
        (rb"\s*(?:<!doctype html|<html)", "an HTML page (a failed download?)"),
        (rb"\s*<(?:\?xml|svg)", "an XML or SVG file"),
        (rb"version https://git-lfs", "a Git LFS pointer (fetch it with `git lfs pull`)"),
        (rb"\0+\Z", "nothing but zeros"),
        (rb"GIF8", "a GIF"),
        (rb"....ftypavi[fs]", "an AVIF"),
        (rb"....ftyp(?:hei|hev|mif|msf)", "a HEIC"),
        (rb"....ftyp", "an MP4 or QuickTime video"),
        (rb"(?:II\x2b\0|MM\0\x2b)", "a BigTIFF"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL"),
        (rb"8BPS", "a Photoshop document"),
        (rb"%PDF", "a PDF"),
        (rb"PK\x03\x04", "a ZIP archive"),
        (rb"\x1f\x8b", "a gzip archive"),
        (rb"\x93NUMPY", "a NumPy array"),
        (rb"P[Ff7]\s", "a PFM or PAM"),
    )
)
