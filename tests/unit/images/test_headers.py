from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from zoo.errors import ImageError
from zoo.images import decoding, headers


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


PNG_HEAD = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
TIFF_HEAD = b"II*\0" + struct.pack("<I", 8)


def tiff(**tags: int) -> bytes:
    numbers = {"subfile": 254, "width": 256, "height": 257, "depth": 258, "kind": 262, "samples": 277}
    entries = b"".join(struct.pack("<HHIHH", numbers[name], 3, 1, value, 0) for name, value in tags.items())
    return TIFF_HEAD + struct.pack("<H", len(tags)) + entries


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"GIF89a\x01\0\x01\0", "is cut short: its header ends early"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "is damaged: it contains no frame"),
        (b"8BPS\0\x01", "is a Photoshop document; expected one of JPEG, PNG, WebP, BMP, TIFF, PNM, GIF, HEIC, AVIF, JPEG 2000. Convert"),
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (b"<svg xmlns=''/>", "is an XML or SVG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"\0" * 900, "is nothing but zeros"),
        (b"\0\0\0\x20ftypheic\0\0", "is a damaged or unusual HEIC"),
        (b"\0\0\0\x20ftypavif\0\0", "is a damaged or unusual AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is cut short: its header ends early"),
        (b"\xff\x4f\xff\x51" + bytes(36) + b"\0\3\7" + b"\xff\xd9", "is damaged: its header declares a size of 0×0"),
        (b"%PDF-1.7", "is a PDF"),
        (
            tiff(subfile=1, width=160, height=120, depth=8, samples=3),
            "is a camera's raw file, or another TIFF whose first image is a small",
        ),
        (tiff(width=160, height=120, depth=16, kind=32803), "is a camera's raw file"),
        (b"II*\0" + struct.pack("<I", 16) + b"CR\2\0" + bytes(4) + tiff(width=160, height=120)[8:], "is a camera's raw file"),
        (b"hello, world", r"is text \('hello, world'…\)"),
        ("Grüße".encode(), "is of an unknown format"),
        (b"\x01\x02\0\x04", r"is of an unknown format \(it starts with 01 02 00 04\)"),
        (PNG_HEAD[:20], "is cut short: its header ends early"),
        (PNG_HEAD, "is cut short: its end chunk IEND is missing"),
        (PNG_HEAD + chunk(b"IDAT", b"abc")[:-1], "is cut short: the chunk IDAT at byte 33 runs past the end"),
        (PNG_HEAD + chunk(b"IDAT", b"abc")[:-1] + b"?", "is damaged: the checksum of the chunk 'IDAT' at byte 33 is wrong"),
        (PNG_HEAD + chunk(b"IDAT", b"abc") + chunk(b"IEND", b""), "is a damaged or unusual PNG that OpenCV can't decode"),
        (b"\xff\xd8\xff\xd9" + b"\0" * 20, "is damaged: it ends before its image data"),
        (b"\xff\xd8\xff\xe0\0\x04ab", "is cut short: it ends before its image data"),
        (b"\xff\xd8\xff\xda\0\x02\xff\xd9", "is damaged: its image data comes before its size"),
        (b"\xff\xd8\xff\xc0\0\x07\x08\0\0\0\0\xff\xda\0\x02\xff\xd9", "is damaged: its header declares a size of 0×0"),
        (b"RIFF\x20\0\0\0WEBPVP8 ", "is cut short: its container declares 40 bytes, but the file has 16"),
        (b"RIFF\x08\0\0\0WEBPOOPS", "is damaged: its first chunk is 'OOPS'"),
        (b"P5 nonsense", "is damaged: the first two characters are not followed by a width and a height"),
        (b"P5 2 2 70000\n", "is damaged: its header declares 70000 as the maximum value"),
        (b"P5 2 1 100\n\xff\xff", "is damaged: it contains the value 255; its header declares 100"),
        (tiff(depth=8), "is damaged: its first directory declares no size"),
        (tiff(width=4, height=4, depth=32), "is a TIFF with 32 bits per sample; expected 8 or 16"),
        (tiff(width=4, height=4, depth=8, samples=2), "is a TIFF with 2 bands that aren't declared"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "thing.jpg"
    file.write_bytes(data)
    with pytest.raises(ImageError, match=rf"thing\.jpg: {reason}"):
        decoding.read(file)


def test_the_limit_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0))
    small = bytes(cv2.imencode(".png", np.zeros((60, 80, 3), np.uint8))[1])
    bomb = head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
        with pytest.raises(ImageError, match="is too large: 20000×10000 pixels, the limit is 100000000 in total"):
            decoding.decode(bomb, "bomb.png")
        with pytest.raises(ImageError, match="the limit is 4799 in total"):
            decoding.Decoding(max_pixels=4799).decode(small, "small.png")
    assert decoding.Decoding(max_pixels=4800).decode(small, "small.png")[0].shape == (60, 80, 3)


def test_damaged_exif_is_only_a_remark() -> None:
    assert headers.exif_orientation(b"Exif\0\0II*\0\xff\xff\xff\xff") == 1
    assert headers.exif_orientation(b"nonsense") == 1
    entry = struct.pack("<HHIHH", 274, 3, 1, 99, 0)
    assert headers.exif_orientation(b"II*\0" + struct.pack("<IH", 8, 1) + entry) == 1
