"""GIF, AVIF, HEIC and JPEG 2000: pixels, orientation, transparency, limits and damage."""

from __future__ import annotations

import builtins
import io
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from tests.pictures import upright
from zoo.errors import ImageError
from zoo.images import decoding, headers, pillow

SMALL = np.random.default_rng(1).integers(0, 255, (6, 8, 3)).astype(np.uint8)
PHOTO = Image.fromarray(SMALL).resize((80, 60), Image.Resampling.BICUBIC)
PALETTE = PHOTO.quantize(64)
RGBA = Image.merge("RGBA", (*Image.new("RGB", (80, 60), (200, 60, 30)).split(), Image.new("L", (80, 60), 20)))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


# file content, and the tolerated mean difference from PHOTO (or PALETTE) in grey levels
FILES = {
    "GIF": (encoded(PALETTE, "GIF"), 0),
    "AVIF": (encoded(PHOTO, "AVIF", quality=95), 2),
    "HEIC": (encoded(PHOTO, "HEIC", quality=95), 5),
    "JP2": (encoded(PHOTO, "JPEG2000"), 0),
    "J2K": (encoded(PHOTO, "JPEG2000", no_jp2=True), 0),
}
FORMATS = {"JP2": "JPEG 2000", "J2K": "JPEG 2000"}
avif = pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")
EACH = pytest.mark.parametrize("name", [pytest.param(name, marks=[avif] if name == "AVIF" else []) for name in FILES])


@EACH
def test_pixels_and_size(name: str, tmp_path: Path) -> None:
    data, tolerance = FILES[name]
    image = decoding.decode(data, name)
    assert image.shape == (60, 80, 3)
    assert image.flags.c_contiguous
    original = PALETTE.convert("RGB") if name == "GIF" else PHOTO
    assert np.abs(image.astype(int) - np.asarray(original)).mean() <= tolerance
    file = tmp_path / "photo"
    file.write_bytes(data)
    assert decoding.size(file) == (60, 80)
    header = decoding.peek(file)
    assert header is not None
    assert (header.format, header.size_hw, header.several) == (FORMATS.get(name, name), (60, 80), False)


@EACH
def test_the_limit_is_checked_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "decode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="is too large: 80×60 pixels, the limit is 4799 in total"):
        decoding.Decoding(max_pixels=4799).decode(FILES[name][0], "bomb")


def test_sizes_that_headers_declare_without_pixels() -> None:
    gif = b"GIF89a" + struct.pack("<HHBBB", 60000, 60000, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\1\0\0;"
    frame = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack("<HHHHB", 9, 9, 60000, 60000, 0) + b"\2\1\0\0;"
    j2k = b"\xff\x4f\xff\x51" + struct.pack(">HH8IHB", 47, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 3, 7) + b"\xff\xd9"
    for data, size in ((gif, "60000×60000"), (frame, "60009×60009"), (j2k, "60000×60000")):
        with pytest.raises(ImageError, match=f"is too large: {size} pixels"):
            decoding.decode(data, "bomb")


@EACH
def test_every_cut_is_found(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, _ = FILES[name]
    for length in [*range(1, len(data) - 2, max(len(data) // 40, 1)), len(data) - 3]:
        with pytest.raises(ImageError, match=r"^photo: (is|can't)"):
            decoding.decode(data[:length], "photo")
    assert capfd.readouterr().err == ""


@EACH
def test_flipped_bytes_raise_nothing_else(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, _ = FILES[name]
    chance = random.Random(name)
    for _ in range(int(os.environ.get("ZOO_MUTATIONS", "40"))):
        mutated = bytearray(data)
        for _ in range(3):
            mutated[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert decoding.Decoding(max_pixels=1_000_000).decode(bytes(mutated), "x")[0].shape[2] == 3
        except ImageError:
            continue
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=avif), "HEIC", "JPEG2000"])
def test_transparency_over_white(kind: str) -> None:
    image = decoding.decode(encoded(RGBA, kind, **({"quality": 100} if kind == "AVIF" else {})), "x")
    np.testing.assert_allclose(image[30, 40], [251, 240, 237], atol=2)


def test_a_transparent_colour_of_a_gif_is_white() -> None:
    palette = Image.fromarray((np.arange(4800).reshape(60, 80) % 2).astype(np.uint8), "P")
    palette.putpalette([200, 60, 30, 0, 0, 255])
    image = decoding.decode(encoded(palette, "GIF", transparency=1), "x")
    assert image[0, :2].tolist() == [[200, 60, 30], [255, 255, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=avif), "HEIC"])
def test_all_eight_orientations(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    image = decoding.decode(encoded(PHOTO, kind, exif=exif.tobytes(), quality=95), "x")
    turned = upright(np.asarray(PHOTO), orientation)
    assert image.shape == turned.shape
    assert np.abs(image.astype(int) - turned).mean() < 5


def test_16_bit_jpeg_2000_is_scaled() -> None:
    deep = Image.fromarray(np.full((60, 80), 200 * 257, np.uint16))
    assert decoding.decode(encoded(deep, "JPEG2000"), "x")[3, 3].tolist() == [200, 200, 200]


ANIMATED = {
    "GIF": {},
    "WEBP": {"lossless": True},
    "PNG": {},
}
COLOURS = [(200, 60, 30), (0, 100, 0), (0, 0, 250)]


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (80, 60), colour) for colour in COLOURS]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **ANIMATED[kind])


@pytest.mark.parametrize("kind", ANIMATED)
def test_frames_of_animated_images(kind: str) -> None:
    data = animation(kind)
    assert decoding.decode(data, "x")[30, 40].tolist() == list(COLOURS[0])
    assert headers.parse(data).note == "several frames or pages, of which the first is read"
    frames: list[NDArray[np.uint8]] = list(decoding.Decoding().frames(data, "x"))
    assert [frame[30, 40].tolist() for frame in frames] == [list(colour) for colour in COLOURS]
    with pytest.raises(ImageError, match="the limit is 4799"):
        list(decoding.Decoding(max_pixels=4799).frames(data, "x"))


def test_a_frame_that_is_larger_than_the_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(animation("GIF"))
    second = data.rfind(b",", 0, data.rfind(b","))
    data[second + 5 : second + 9] = struct.pack("<HH", 60000, 60000)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="is damaged: a frame is larger than the first one"):
        list(decoding.Decoding().frames(bytes(data), "bomb"))


def test_frames_of_a_cut_gif() -> None:
    with pytest.raises(ImageError, match=r"film: is (cut short|a damaged GIF: frame)"):
        list(decoding.Decoding().frames(animation("GIF")[:-40], "film"))


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "pillow_heif":
            raise ImportError(name)
        return load(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImageError, match=r"photo\.heic: is a HEIC; reading it requires pillow-heif\. .*pip install 'resnet-zoo\[heic\]'"):
        decoding.decode(FILES["HEIC"][0], "photo.heic")


def test_avif_without_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ImageError, match="is an AVIF, which this build of Pillow can't read"):
        decoding.decode(FILES["AVIF"][0], "photo.avif")


@pytest.mark.parametrize("raw", [False, True])
def test_only_declared_alpha_of_a_jpeg_2000_is_alpha(raw: bool) -> None:
    """Infrared, too, is stored as a fourth component."""
    data = encoded(RGBA, "JPEG2000", no_jp2=raw)
    if not raw:
        assert decoding.decode(data, "x")[30, 40].tolist() == [251, 240, 237]
        data = data.replace(b"cdef\0\4", b"free\0\4")
    assert decoding.decode(data, "x")[30, 40].tolist() == [200, 60, 30]
    assert headers.parse(data).note.startswith("4 bands, of which 0, 1 and 2 are read")
    assert decoding.Decoding(bands=(3, 1, 0)).decode(data, "x")[0][30, 40].tolist() == [20, 60, 200]
    grey = encoded(RGBA.convert("LA"), "JPEG2000").replace(b"cdef\0\2", b"free\0\2")
    with pytest.raises(ImageError, match="is a JPEG 2000 with 2 bands that aren't declared"):
        decoding.decode(grey, "x")
    assert decoding.Decoding(bands=(1,)).decode(grey, "x")[0][30, 40].tolist() == [20, 20, 20]


def test_jpeg_2000_of_five_components() -> None:
    data = b"\xff\x4f\xff\x51" + struct.pack(">HH8IHB", 53, 0, 8, 8, 0, 0, 8, 8, 0, 0, 5, 7) + b"\xff\xd9"
    with pytest.raises(ImageError, match="is a JPEG 2000 with 5 components; expected 1 to 4"):
        decoding.decode(data, "x")
