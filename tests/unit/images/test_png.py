"""PNGs and WebPs whose pixels are whole although their end is missing."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ImageError
from zoo.images import decoding, headers, png

PIXELS = np.random.default_rng(1).integers(0, 255, (21, 13, 3)).astype(np.uint8)
PHOTO = Image.fromarray(PIXELS)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced() -> bytes:
    """Return PIXELS as a PNG in seven passes (Adam7)."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [row for x, y, dx, dy in passes for row in PIXELS[y::dy, x::dx]]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 21, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))) + png.IEND


KINDS = {
    "rgb": encoded(PHOTO),
    "grey": encoded(PHOTO.convert("L")),
    "1 bit": encoded(PHOTO.convert("1")),
    "palette": encoded(PHOTO.quantize(13)),
    "rgba": encoded(PHOTO.convert("RGBA")),
    "16 bit": encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),
    "interlaced": interlaced(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", range(12))
def test_a_png_without_its_end_chunk_is_whole(kind: str, left: int) -> None:
    whole = KINDS[kind]
    cut = whole[: len(whole) - 12 + left]
    np.testing.assert_array_equal(decoding.decode(cut, "x"), decoding.decode(whole, "x"))
    assert headers.parse(cut).note == "all of its pixels but no end chunk, so other programs may refuse it"
    assert headers.parse(whole).note == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_png_without_its_last_rows_is_cut_short(kind: str) -> None:
    """The image data are sound chunks that end too early."""
    whole = KINDS[kind]
    at = whole.find(b"IDAT") - 4
    length = struct.unpack_from(">I", whole, at)[0]
    body = whole[at + 8 : at + 8 + length]
    for part in (body[: len(body) // 2], body[:-8], b""):
        with pytest.raises(ImageError, match=r"is cut short: its end chunk IEND is missing"):
            decoding.decode(whole[:at] + chunk(b"IDAT", part), "x")


def test_an_interlaced_png_is_read() -> None:
    np.testing.assert_array_equal(decoding.decode(interlaced(), "x"), PIXELS)


def test_missing_ends_are_not_searched_for_in_other_bytes() -> None:
    for end in (b"", b"garbage"):
        np.testing.assert_array_equal(decoding.decode(KINDS["rgb"] + end, "x"), PIXELS)
    with pytest.raises(ImageError, match="is cut short"):
        decoding.decode(KINDS["rgb"][:-12] + b"garbage", "x")


def test_a_webp_without_its_last_padding_byte() -> None:
    files = (encoded(PHOTO.resize((size, size)), "WEBP", lossless=True) for size in range(8, 40))
    odd = next(data for data in files if struct.unpack_from("<I", data, 16)[0] % 2)
    np.testing.assert_array_equal(decoding.decode(odd[:-1], "x"), decoding.decode(odd, "x"))
    with pytest.raises(ImageError, match="is cut short: its container declares"):
        decoding.decode(odd[:-2], "x")
