from __future__ import annotations

import io
import os
import pickle
import random
import struct
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

from zoo.errors import ImageError
from zoo.images import decoding

Array = NDArray[Any]


def scene(height: int = 60, width: int = 80) -> Array:
    """Return an image with a different colour in every corner, soft and hard edges, and a little noise: [H, W, 3] uint8."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 5) * np.cos(y / 7)], axis=2)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 30)
    noisy: Array = pixels + np.random.default_rng(0).normal(0, 4, pixels.shape)
    return noisy.clip(0, 255).astype(np.uint8)


PIXELS = scene()
RGB = Image.fromarray(PIXELS)
GREY = RGB.convert("L")
ALPHA = Image.fromarray(np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1)))
RGBA = Image.merge("RGBA", (*RGB.split(), ALPHA))
GREY16 = np.asarray(GREY).astype(np.uint16) * 257 + 100


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opencv(extension: str, image: Array) -> bytes:
    return bytes(cv2.imencode(extension, image)[1])


def over_white(rgba: Image.Image) -> Array:
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba.convert("RGBA")).convert("RGB"))


# name: (file content, image decoded by Pillow)
WHOLE: dict[str, tuple[bytes, Array]] = {
    "png": (encoded(RGB, "PNG"), PIXELS),
    "png grey": (encoded(GREY, "PNG"), np.asarray(GREY.convert("RGB"))),
    "png 1 bit": (encoded(RGB.convert("1"), "PNG"), np.asarray(RGB.convert("1").convert("RGB"))),
    "png palette": (encoded(RGB.quantize(16), "PNG"), np.asarray(RGB.quantize(16).convert("RGB"))),
    "png alpha": (encoded(RGBA, "PNG"), over_white(RGBA)),
    "png grey alpha": (encoded(RGBA.convert("LA"), "PNG"), over_white(RGBA.convert("LA"))),
    "webp": (encoded(RGB, "WEBP", lossless=True), PIXELS),
    "webp alpha": (encoded(RGBA, "WEBP", lossless=True, exact=True), over_white(RGBA)),
    "bmp": (encoded(RGB, "BMP"), PIXELS),
    "bmp grey": (encoded(GREY, "BMP"), np.asarray(GREY.convert("RGB"))),
    "bmp 1 bit": (encoded(RGB.convert("1"), "BMP"), np.asarray(RGB.convert("1").convert("RGB"))),
    "tiff": (encoded(RGB, "TIFF"), PIXELS),
    "tiff lzw": (encoded(RGB, "TIFF", compression="tiff_lzw"), PIXELS),
    "tiff deflate": (encoded(RGB, "TIFF", compression="tiff_adobe_deflate"), PIXELS),
    "tiff alpha": (encoded(RGBA, "TIFF"), over_white(RGBA)),
    "tiff 1 bit": (encoded(RGB.convert("1"), "TIFF", compression="group4"), np.asarray(RGB.convert("1").convert("RGB"))),
    "tiff palette": (encoded(RGB.quantize(16), "TIFF"), np.asarray(RGB.quantize(16).convert("RGB"))),
    "pbm": (encoded(RGB.convert("1"), "PPM"), np.asarray(RGB.convert("1").convert("RGB"))),
    "ppm": (encoded(RGB, "PPM"), PIXELS),
    "pgm": (encoded(GREY, "PPM"), np.asarray(GREY.convert("RGB"))),
    "jpeg": (encoded(RGB, "JPEG"), np.asarray(Image.open(io.BytesIO(encoded(RGB, "JPEG"))))),
    "jpeg progressive": (
        encoded(RGB, "JPEG", progressive=True),
        np.asarray(Image.open(io.BytesIO(encoded(RGB, "JPEG", progressive=True)))),
    ),
    "jpeg grey": (encoded(GREY, "JPEG"), np.asarray(Image.open(io.BytesIO(encoded(GREY, "JPEG"))).convert("RGB"))),
    "jpeg cmyk": (
        encoded(RGB.convert("CMYK"), "JPEG"),
        np.asarray(Image.open(io.BytesIO(encoded(RGB.convert("CMYK"), "JPEG"))).convert("RGB")),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_reads_what_pillow_reads(name: str) -> None:
    data, expected = WHOLE[name]
    image = decoding.decode(data, name)
    assert image.dtype == np.uint8
    assert image.shape == (60, 80, 3)
    assert image.flags.c_contiguous
    # one level of rounding in the products of CMYK and in libtiff's multiplication by alpha
    assert np.abs(image.astype(int) - expected).max() <= (2 if name in ("jpeg cmyk", "tiff alpha") else 1)
    assert np.abs(image.astype(int) - expected).mean() <= (1 if name in ("jpeg cmyk", "tiff alpha") else 0.5)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".pgm"])
def test_16_bit_is_scaled_and_not_cut(extension: str) -> None:
    image = decoding.decode(opencv(extension, GREY16), "deep")
    np.testing.assert_array_equal(image[..., 1], np.round(GREY16 / 257))
    assert not np.array_equal(image[..., 1], GREY16 >> 8)


def test_16_bit_alpha_over_white() -> None:
    red = np.zeros((2, 2, 4), np.uint16)
    red[..., 2], red[..., 3] = 65535, [[0, 65535], [32768, 32768]]  # OpenCV writes BGRA
    image = decoding.decode(opencv(".png", red), "deep")
    assert image.tolist() == [[[255, 255, 255], [255, 0, 0]], [[255, 127, 127], [255, 127, 127]]]


def test_transparent_colours_of_png() -> None:
    palette = RGB.quantize(16)
    data = encoded(palette, "PNG", transparency=bytes([0, 128] + [255] * 14))
    np.testing.assert_allclose(decoding.decode(data, "p"), over_white(Image.open(io.BytesIO(data)).convert("RGBA")), atol=1)
    for bits, grey in ((8, GREY), (1, GREY.convert("1"))):
        data = encoded(grey, "PNG", transparency=100 if bits == 8 else 0)
        shown = decoding.decode(data, "grey")
        assert (shown[np.asarray(grey) == (100 if bits == 8 else 0)] == 255).all()


def test_a_red_picture_is_red() -> None:
    red = Image.new("RGB", (16, 16), (254, 0, 0))
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"):
        assert decoding.decode(encoded(red, kind), kind)[8, 8].tolist() == pytest.approx([254, 0, 0], abs=3)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P2\n# a remark\n2 1\n255\n0 7", [[[0] * 3, [7] * 3]]),
        (b"P3 1 1 255 1 2 3", [[[1, 2, 3]]]),
        (b"P5 2 1 100\n\x00\x64", [[[0] * 3, [255] * 3]]),
        (b"P5 1 1 4095\n\x0f\xff", [[[255] * 3]]),
    ],
)
def test_pnm_kinds(data: bytes, expected: list[Any]) -> None:
    assert decoding.decode(data, "x.pgm").tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_eight_orientations(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif.tobytes()}
    file = tmp_path / "photo"
    file.write_bytes(encoded(RGB, kind, **options, **({"lossless": True} if kind == "WEBP" else {})))
    with Image.open(file) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    image = decoding.read(file)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 1
    assert decoding.size(file) == image.shape[:2]
    smaller, _ = decoding.Decoding((image.shape[0] // 6, image.shape[1] // 6)).read(file)
    half = (image.shape[0] // 2, image.shape[1] // 2)
    assert smaller.shape[:2] == (half if kind == "JPEG" else image.shape[:2])


def test_orientation_of_transparent_and_16_bit_pictures() -> None:
    exif = Image.Exif()
    exif[274] = 6
    np.testing.assert_allclose(decoding.decode(encoded(RGBA, "PNG", exif=exif.tobytes()), "a"), np.rot90(over_white(RGBA), -1), atol=1)
    deep = encoded(Image.fromarray(GREY16), "TIFF", tiffinfo={274: 6})
    np.testing.assert_array_equal(decoding.decode(deep, "t")[..., 0], np.rot90(np.round(GREY16 / 257), -1))


def test_a_cmyk_red_is_red() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert decoding.decode(data, "cmyk")[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.parametrize("name", WHOLE)
def test_every_cut_is_found(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, _ = WHOLE[name]
    # Pillow pads the last strip or row with a few bytes that belong to no pixel
    needed = len(data) - (17 if name.startswith("png") else 8)  # a PNG without its last 16 bytes has all of its pixels
    for length in [*range(1, needed, max(len(data) // 60, 1)), needed]:
        with pytest.raises(ImageError, match=r"^scene\.x: (is|can't)"):
            decoding.decode(data[:length], "scene.x")
    assert capfd.readouterr().err == ""


_COUNT = int(os.environ.get("ZOO_MUTATIONS", "60"))  # damaged files per format; see tests/unit/data/test_reader_mutations.py


@pytest.mark.parametrize("name", WHOLE)
def test_flipped_bytes_raise_nothing_else(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, _ = WHOLE[name]
    chance, refused = random.Random(name), 0
    for _ in range(_COUNT):
        mutated = bytearray(data)
        for _ in range(3):
            mutated[chance.randrange(len(data))] = chance.randrange(256)
        try:
            image, _ = decoding.Decoding(max_pixels=1_000_000).decode(bytes(mutated), "scene.x")
            assert image.ndim == 3
            assert image.shape[2] == 3
        except ImageError:
            refused += 1
    # formats with checksums, or whose decoder detects damage
    if name.startswith(("png", "jpeg progressive", "tiff deflate")):
        assert refused >= _COUNT * 2 // 3
    assert capfd.readouterr().err == ""


def test_a_jpeg_whose_middle_was_overwritten_is_damaged() -> None:
    data = bytearray(WHOLE["jpeg"][0])
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff\xd9" * 32
    with pytest.raises(ImageError, match="is damaged: premature end of data segment"):
        decoding.decode(bytes(data), "photo.jpg")


def test_padding_before_a_jpegs_end_is_harmless() -> None:
    data, expected = WHOLE["jpeg"]
    padded = decoding.decode(data[:-2] + b"\x00" * 4 + data[-2:] + b"trailing bytes", "photo.jpg")
    assert np.abs(padded.astype(int) - expected).max() <= 1
    with pytest.raises(ImageError, match="extraneous bytes"):
        decoding.decode(data[:-2] + b"noise" * 80 + data[-2:], "photo.jpg")


def test_a_cut_jpeg_with_a_thumbnail_is_cut(tmp_path: Path) -> None:
    thumbnail = encoded(RGB, "JPEG")
    data = WHOLE["jpeg"][0]
    segment = b"Exif\0\0" + thumbnail
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert decoding.decode(whole, "x").shape == (60, 80, 3)
    with pytest.raises(ImageError, match="is cut short: its end marker is missing"):
        decoding.decode(whole[:-10], "x")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: does not exist\. Check the path"):
        decoding.read(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder; expected an image file"):
        decoding.read(tmp_path)
    with pytest.raises(ImageError, match="is not a regular file"):
        decoding.read(os.devnull)
    with pytest.raises(ImageError, match="can't be read"):
        decoding.read("nul\0character.jpg")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(WHOLE["png"][0])

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root can read every file, so a chmod would have no effect
    with pytest.raises(ImageError, match=r"secret\.png: can't be read by this user\. Check the permissions"):
        decoding.read(file)


def test_size_reads_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    for name, (data, _) in WHOLE.items():
        file = tmp_path / name
        file.write_bytes(data)
        assert decoding.size(file) == (60, 80)


def test_errors_survive_a_worker_process() -> None:
    with pytest.raises(ImageError) as caught:
        decoding.decode(b"", "a.jpg")
    assert str(pickle.loads(pickle.dumps(caught.value))) == "a.jpg: is empty (0 bytes)"


def resized(image: Array, height: int, width: int) -> torch.Tensor:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return interpolate(pixels, (height, width), mode="bilinear", antialias=True)


def test_reduced_decoding_is_chosen_by_what_is_left() -> None:
    data = encoded(Image.fromarray(scene(480, 640)), "JPEG")
    sizes = [(161, 10), (80, 81), (80, 80), (40, 40), (20, 20), (1, 1)]
    shapes = [decoding.Decoding(size).decode(data, "x")[0].shape[:2] for size in sizes]
    assert shapes == [(480, 640), (240, 320), (240, 320), (120, 160), (60, 80), (60, 80)]
    assert decoding.Decoding((1, 1)).decode(encoded(RGB, "PNG"), "x")[0].shape == (60, 80, 3)


def test_reduced_decoding_differs_by_less_than_two_grey_levels(shared_data: Path) -> None:
    files = sorted((shared_data / "photos").glob("*"))[::4]
    differences = []
    for file in files:
        whole = decoding.read(file)
        final = (whole.shape[0] // 6, whole.shape[1] // 6)
        reduced, _ = decoding.Decoding(final).read(file)
        assert reduced.shape[0] == -(-whole.shape[0] // 2)
        differences.append(float((resized(whole, *final) - resized(reduced, *final)).abs().mean()))
    assert np.mean(differences) < 1.5
    portrait = Image.open(shared_data / "portraits" / "paul_rudd.jpg").convert("RGB").resize((4000, 3000))
    data = encoded(portrait, "JPEG", quality=90)
    reduced, _ = decoding.Decoding((224, 224)).decode(data, "p")
    assert reduced.shape == (750, 1000, 3)
    assert float((resized(decoding.decode(data, "p"), 224, 299) - resized(reduced, 224, 299)).abs().mean()) < 2


def test_photos_equal_pillows(shared_data: Path) -> None:
    for file in sorted((shared_data / "photos").glob("*"))[:8]:
        with Image.open(file) as photo:
            expected = np.asarray(ImageOps.exif_transpose(photo).convert("RGB")).astype(int)
        assert np.abs(decoding.read(file) - expected).mean() < 0.5


def test_threads_do_not_mix_up_their_messages(capfd: pytest.CaptureFixture[str]) -> None:
    good = WHOLE["jpeg"][0]
    bad = bytearray(good)
    bad[len(bad) // 2 : len(bad) // 2 + 64] = b"\xff\xd9" * 32
    wrong: list[str] = []

    def work(data: bytes, expect: bool) -> None:
        for _ in range(50):
            try:
                decoding.decode(data, "x")
                fine = True
            except ImageError:
                fine = False
            if fine is not expect:
                wrong.append(f"{expect}")

    threads = [threading.Thread(target=work, args=(data, expect)) for data, expect in ((good, True), (bytes(bad), False)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert capfd.readouterr().err == ""
