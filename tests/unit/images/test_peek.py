"""Headers from the first bytes of a file equal those of the whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.images import decoding

NOISE = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)  # its files are larger than the part that is read


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize(("name", "options"), [
    ("a.jpg", {"quality": 100}), ("a.jpg", {"icc_profile": b"x" * 200_000}), ("a.jpg", {"progressive": True}), ("a.png", {}),
    ("a.webp", {"lossless": True}), ("a.webp", {"quality": 10}),
])  # fmt: skip
def test_headers_of_photos(tmp_path: Path, name: str, options: dict[str, Any], orientation: int) -> None:
    Image.fromarray(NOISE).save(tmp_path / name, exif=_exif(orientation), **options)
    header = decoding.peek(tmp_path / name)
    assert header is not None
    assert (header.size_hw, header.declared) == ((300, 200) if orientation >= 5 else (200, 300), orientation)
    assert header == decoding.header(tmp_path / name)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_headers_of_tiffs(tmp_path: Path, orientation: int) -> None:
    """OpenCV applies a TIFF's orientation by itself; the directory may follow the pixels."""
    Image.fromarray(NOISE).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    header = decoding.peek(tmp_path / "a.tif")
    assert header is not None
    assert (header.size_hw, header.declared) == ((300, 200) if orientation >= 5 else (200, 300), orientation)
    assert decoding.read(tmp_path / "a.tif").shape[:2] == header.size_hw


@pytest.mark.parametrize("name", ["a.bmp", "a.ppm", "a.jpg", "a.png", "a.webp"])
def test_a_file_that_is_cut_has_a_header(tmp_path: Path, name: str) -> None:
    Image.fromarray(NOISE).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 3 // 4])
    header = decoding.peek(tmp_path / name)
    assert header is not None
    assert header.size_hw == (200, 300)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0" * 100_000, b"II*\0" + b"\xff" * 100_000])
def test_files_without_a_header(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert decoding.peek(tmp_path / "a") is None
    assert decoding.peek(tmp_path / "none") is None
