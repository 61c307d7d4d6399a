"""JPEGs as cameras write them: whole pixels with a missing or padded end are read, and images without all pixels are errors."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ImageError
from zoo.images import decoding, headers

PIXELS = np.random.default_rng(1).integers(0, 255, (6, 8, 3)).astype(np.uint8)
PHOTO = Image.fromarray(PIXELS).resize((80, 60), Image.Resampling.BICUBIC)
BLACK = Image.new("RGB", (64, 64))  # its scan consists of few different bytes


def jpeg(image: Image.Image = PHOTO, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


KINDS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "grey": jpeg(PHOTO.convert("L")),
    "cmyk": jpeg(PHOTO.convert("CMYK")),
    "restarts": jpeg(restart_marker_rows=1),
    "black": jpeg(BLACK, optimize=True),
}
ENDS = {
    "none": b"",
    "half": b"\xff",
    "fill bytes": b"\xff\xff\xff\xd9",
    "zeros": bytes(500),
    "zeros before it": bytes(500) + b"\xff\xd9",
    "a few bytes before it": b"\r\n\x1a\x01\xff\xd9",
    "trailer": b"\xff\xd9" + b"SEFHk\0\0\0" * 40 + b"SEFT",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ENDS)
def test_whole_pixels_are_read_however_the_file_ends(kind: str, end: str) -> None:
    whole = KINDS[kind]
    expected = decoding.decode(whole, "whole.jpg")
    np.testing.assert_array_equal(decoding.decode(whole[:-2] + ENDS[end], "photo.jpg"), expected)
    reduced = decoding.Decoding((8, 8))
    np.testing.assert_array_equal(reduced.decode(whole[:-2] + ENDS[end], "x")[0], reduced.decode(whole, "x")[0])


@pytest.mark.parametrize(
    ("last", "ends"), [(rb"\xff\0\Z", ("none", "half", "zeros", "zeros before it")), (rb"[^\xff\0]\0{1,2}\Z", ("none", "half"))]
)
def test_the_last_byte_of_a_scan_may_look_like_padding(last: bytes, ends: tuple[str, ...]) -> None:
    ramps = (np.arange(size)[:, None, None] * (1, 0, 1) + np.arange(size)[None, :, None] * 2 for size in range(8, 120))
    images = (Image.fromarray(ramp.clip(0, 255).astype(np.uint8)) for ramp in ramps)
    files = (
        jpeg(image, quality=quality, progressive=progressive) for image in images for quality in (30, 85) for progressive in (False, True)
    )
    whole = next(data for data in files if re.search(last, data[:-2]))
    for end in ends:
        np.testing.assert_array_equal(decoding.decode(whole[:-2] + ENDS[end], "photo.jpg"), decoding.decode(whole, "whole.jpg"))
        with pytest.raises(ImageError, match=r"is (cut short|(a )?damaged)"):
            decoding.decode(whole[:-8] + ENDS[end], "photo.jpg")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["none", "half", "fill bytes", "zeros", "trailer"])
def test_missing_pixels_are_an_error_however_the_file_ends(kind: str, end: str) -> None:
    whole = KINDS[kind]
    scan = whole.rfind(b"\xff\xda") + 14
    for length in {scan + 1, (scan + len(whole)) // 2, len(whole) - 6}:
        cut = whole[:length].rstrip(b"\xff")
        with pytest.raises(ImageError, match=r"photo\.jpg: is (cut short|(a )?damaged)"):
            decoding.decode(cut + ENDS[end], "photo.jpg")


def test_a_progressive_jpeg_without_its_last_scans_is_cut_short() -> None:
    """Libjpeg decodes it without a warning."""
    whole = KINDS["progressive"]
    at = whole.find(b"\xff\xda") + 2
    scans = []
    while (at := whole.find(b"\xff\xda", at) + 2) > 1:
        scans.append(at - 2)
    assert len(scans) > 4
    for scan in scans:
        tables = whole.rfind(b"\xff\xc4", 0, scan)  # each scan is preceded by its Huffman table
        with pytest.raises(ImageError, match="is cut short: its end marker is missing") as caught:
            decoding.decode(whole[: tables if whole[tables - 2 : tables] != b"\xff\xd9" else scan], "photo.jpg")
        assert caught.value.kind == "truncated"


def test_a_jpeg_of_several_scans_must_have_all_components() -> None:
    """The scan of the last component is missing from a baseline JPEG whose components have a scan each."""
    whole = KINDS["baseline"]
    scan = whole.find(b"\xff\xda")
    one = whole[: scan + 2] + b"\0\x08\x01\x01\0\0\x3f\0" + whole[scan + 14 :]
    with pytest.raises(ImageError, match="is cut short: its end marker is missing"):
        decoding.decode(one[:-2], "photo.jpg")


def test_a_file_filled_up_with_zeros_after_its_first_half_is_cut() -> None:
    """Zeros are valid Huffman codes: OpenCV alone returns an image of the right size."""
    for whole in (KINDS["baseline"], KINDS["grey"]):
        half = whole[: len(whole) // 2]
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(ImageError, match=r"is (cut short|damaged)"):
                decoding.decode(half + bytes(len(whole) * 4) + end, "download.jpg")


def test_several_jpegs_in_a_file_are_its_first() -> None:
    buffer = io.BytesIO()
    PHOTO.save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (80, 60), "red")])
    image = decoding.decode(buffer.getvalue(), "photo.mpo")
    assert np.abs(image.astype(int) - np.asarray(PHOTO)).mean() < 4
    np.testing.assert_array_equal(decoding.decode(buffer.getvalue()[:-100], "photo.mpo"), image)  # the second one is cut


def test_a_missing_end_marker_is_noted() -> None:
    assert headers.parse(KINDS["baseline"][:-2]).note == "all of its pixels but no end marker, so other programs may refuse it"
    assert headers.parse(KINDS["baseline"]).note == ""


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("GIF", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("PPM", {})]
)
def test_another_format_with_the_suffix_of_a_jpeg(kind: str, options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    image = PHOTO.quantize(64).convert("RGB")
    image.save(buffer, kind, **options)
    np.testing.assert_array_equal(decoding.decode(buffer.getvalue(), "photo.jpg"), np.asarray(image))
