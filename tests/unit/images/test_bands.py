"""TIFFs with other bands than grey, RGB and alpha, and fourth channels that aren't alpha in other formats."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import zoo
from tests.pictures import upright
from zoo.errors import ImageError, InputError
from zoo.images import decoding, headers
from zoo.images.bands import parse
from zoo.images.decoding import Decoding

Array = NDArray[Any]
BYTES, WORDS = np.uint8, np.uint16
SIZE = (40, 70)


def bands(count: int, dtype: Any = BYTES, size_hw: tuple[int, int] = SIZE) -> Array:
    """Return random samples [H, W, count]; those of 16 bits are the same, times 257."""
    stored = np.random.default_rng(0).integers(0, 256, (*size_hw, count))
    return (stored * (257 if dtype == WORDS else 1)).astype(dtype)


def tiff(
    samples: Array, extra: tuple[int, ...] | None, *, kind: int = 2, planar: bool = False, order: Literal["<", ">"] = "<",
    predictor: int = 1, compressed: bool = False, tile: int = 0, strips: int = 2, orientation: int = 1,
) -> bytes:  # fmt: skip
    """Write samples as a TIFF according to TIFF 6.0, in strips or in tiles of `tile` pixels."""
    height, width, count = samples.shape
    planes = np.moveaxis(samples, 2, 0)[..., None] if planar else samples[None]
    chunks = []
    for plane in planes:
        if tile:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            parts = [padded[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]
        else:
            rows = -(-height // strips)
            parts = [plane[y : y + rows] for y in range(0, height, rows)]
        for part in parts:
            stored = part.copy()
            if predictor == 2:
                stored[:, 1:] = part[:, 1:] - part[:, :-1]
            raw = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
            chunks.append(zlib.compress(raw) if compressed else raw)
    body = b"".join(chunks)
    body += bytes(len(body) % 2)
    places = (8 + np.cumsum([0, *map(len, chunks[:-1])])).tolist()
    lengths = [len(chunk) for chunk in chunks]
    entries: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [8 * samples.itemsize] * count, 259: [8 if compressed else 1], 262: [kind], 274: [orientation],
        277: [count], 284: [2 if planar else 1], 317: [predictor],
    }  # fmt: skip
    entries |= {322: [tile], 323: [tile], 324: places, 325: lengths} if tile else {273: places, 278: [-(-height // strips)], 279: lengths}
    entries |= {338: list(extra)} if extra else {}
    start = 8 + len(body)
    written, tail, after = b"", b"", start + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        wide = tag in (273, 279, 324, 325)
        raw = struct.pack(f"{order}{len(values)}{'I' if wide else 'H'}", *values)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(f"{order}I", after + len(tail))
        tail += raw if len(raw) > 4 else b""
        written += struct.pack(f"{order}HHI", tag, 4 if wide else 3, len(values)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + body + struct.pack(f"{order}H", len(entries)) + written + bytes(4) + tail


LAYOUTS: list[dict[str, Any]] = [
    {}, {"order": ">"}, {"planar": True}, {"compressed": True, "predictor": 2}, {"tile": 32},
    {"tile": 32, "compressed": True, "predictor": 2}, {"planar": True, "tile": 32, "compressed": True, "predictor": 2},
    {"planar": True, "strips": 3, "order": ">"},
]  # fmt: skip


@pytest.mark.parametrize("dtype", [BYTES, WORDS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unspecified_fourth_band_is_no_alpha(dtype: Any, layout: dict[str, Any]) -> None:
    data = tiff(bands(4, dtype), (0,), **layout)
    np.testing.assert_array_equal(decoding.decode(data, "x"), bands(3 + 1)[..., :3])
    note = "4 bands, of which 0, 1 and 2 are read as red, green and blue (?bands= chooses others)"
    assert headers.parse(data).note == note


@pytest.mark.parametrize("dtype", [BYTES, WORDS])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("extra", "expected"), [((2,), 251), ((1,), 255), (None, 251)])
def test_declared_alpha_is_alpha(dtype: Any, layout: dict[str, Any], extra: tuple[int, ...] | None, expected: int) -> None:
    """Without a declaration, as OpenCV writes RGBA, the fourth band is straight alpha, too."""
    stored = (np.full((*SIZE, 4), (200, 60, 30, 20)) * (257 if dtype == WORDS else 1)).astype(dtype)
    image = decoding.decode(tiff(stored, extra, **layout), "x")
    assert image[6, 6, 0] == expected
    assert (image == image[6, 6]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [BYTES, WORDS])
@pytest.mark.parametrize("chosen", [(3, 0, 1), (0, 1, 2), (5, 5, 5), (4,)])
def test_chosen_bands(layout: dict[str, Any], dtype: Any, chosen: tuple[int, ...]) -> None:
    data = tiff(bands(6, dtype), (0, 0, 0), **layout)
    expected = bands(6)[..., list(chosen * (3 // len(chosen)))]
    np.testing.assert_array_equal(zoo.read_image(data, bands=chosen), expected)
    assert Decoding((2, 2), bands=chosen).decode(data, "x")[1] == SIZE


@pytest.mark.parametrize(
    ("samples", "extra", "kind"),
    [(5, (0, 0), 2), (5, (2, 0), 2), (4, (0, 0, 0), 1), (2, (0,), 1), (2, None, 0), (3, (0, 2), 1), (13, None, 1)],
)
@pytest.mark.parametrize("dtype", [BYTES, WORDS])
def test_other_bands_must_be_chosen(samples: int, extra: tuple[int, ...] | None, kind: int, dtype: Any) -> None:
    data = tiff(bands(samples, dtype), extra, kind=kind)
    expected = (
        rf"field\.tif: is a TIFF with {samples} bands that aren't declared as grey or RGB.*Choose three.*\?bands=0,1,2.*bands=\(0, 1, 2\)"
    )
    with pytest.raises(ImageError, match=expected):
        decoding.decode(data, "field.tif")
    np.testing.assert_array_equal(zoo.read_image(data, bands=(1, 1, 0)), bands(samples)[..., [1, 1, 0]])


@pytest.mark.parametrize("dtype", [BYTES, WORDS])
@pytest.mark.parametrize("planar", [False, True])
def test_three_bands_declared_as_grey_are_rgb(dtype: Any, planar: bool) -> None:
    """GDAL writes RGB of 16 bits so."""
    data = tiff(bands(3, dtype), (0, 0), kind=1, planar=planar)
    np.testing.assert_array_equal(decoding.decode(data, "x"), bands(3))
    assert headers.parse(data).note.startswith("3 bands, of which 0, 1 and 2 are read")


@pytest.mark.parametrize("dtype", [BYTES, WORDS])
@pytest.mark.parametrize("planar", [False, True])
def test_plain_rgb_in_planes(dtype: Any, planar: bool) -> None:
    data = tiff(bands(3, dtype), None, planar=planar)
    np.testing.assert_array_equal(decoding.decode(data, "x"), bands(3))
    assert headers.parse(data).note == ""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extra", [(0,), (2,)])
def test_orientation(orientation: int, extra: tuple[int, ...], tmp_path: Path) -> None:
    data = tiff(bands(4), extra, orientation=orientation)
    expected = upright(bands(4)[..., [3, 1, 0]], orientation)
    np.testing.assert_array_equal(zoo.read_image(data, bands=(3, 1, 0)), expected)
    (tmp_path / "x.tif").write_bytes(data)
    assert decoding.size(tmp_path / "x.tif") == expected.shape[:2] == decoding.decode(data, "x").shape[:2]


def test_bands_of_other_images() -> None:
    pixels = bands(3)
    data = bytes(cv2.imencode(".png", pixels[..., ::-1])[1])
    np.testing.assert_array_equal(zoo.read_image(data, bands=(2, 1, 0)), pixels[..., ::-1])
    np.testing.assert_array_equal(zoo.read_image(data, bands=(1,)), pixels[..., [1, 1, 1]])
    with pytest.raises(ImageError, match="has the bands 0 to 2, but band 3 was chosen"):
        zoo.read_image(data, bands=(3, 1, 0))
    with pytest.raises(ImageError, match="has the bands 0 to 3, but band 4 was chosen"):
        zoo.read_image(tiff(bands(4), (0,)), bands=(4,))


@pytest.mark.parametrize("chosen", [(), (0, 1), (0, -1, 2), (0, 1, 2, 3)])
def test_bands_that_are_no_choice(chosen: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected one or three numbers from 0, as in 0,1,2"):
        Decoding(bands=chosen)


@pytest.mark.parametrize("text", ["", "0,1", "red", "0,1,-2", "0;1;2"])
def test_texts_that_are_no_bands(text: str) -> None:
    with pytest.raises(InputError, match="expected one or three numbers from 0"):
        parse(text)
    assert parse("3, 0,1") == (3, 0, 1)


def test_many_bands_count_towards_the_limit() -> None:
    data = tiff(bands(13), None, kind=1)
    assert Decoding(bands=(0, 1, 2), max_pixels=3 * 40 * 70).decode(data, "x")[0].shape == (40, 70, 3)
    with pytest.raises(ImageError, match="is too large: 70×40 pixels in 13 bands, the limit is 8399"):
        Decoding(bands=(0, 1, 2), max_pixels=3 * 40 * 70 - 1).decode(data, "x")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_cut_is_found(layout: dict[str, Any]) -> None:
    data = tiff(bands(5, BYTES, (6, 11)), (0, 0), **layout)
    for cut in range(0, len(data) - 12, 7):  # the last bytes may declare the depth of further bands
        with pytest.raises(ImageError):
            zoo.read_image(data[:cut], bands=(4, 1, 0))


def test_samples_that_are_no_levels_of_light() -> None:
    depths = bytes(cv2.imencode(".tiff", np.full((8, 8), -5, np.int16))[1])
    with pytest.raises(ImageError, match="contains negative samples"):
        decoding.decode(depths, "x")
    positive = bytes(cv2.imencode(".tiff", np.full((8, 8), 100 * 257, np.int16))[1])
    assert (decoding.decode(positive, "x") == 100).all()
    with pytest.raises(ImageError, match="16 bits per sample that is neither grey nor RGB"):
        decoding.decode(tiff(bands(4, WORDS), None, kind=5), "x")  # CMYK
    for dtype in (BYTES, WORDS):  # OpenCV converts 8 bits to other colours than Adobe's and Pillow's profiles
        with pytest.raises(ImageError, match="is a TIFF in CIELAB colours"):
            decoding.decode(tiff(bands(3, dtype), None, kind=8), "x")


def bmp(fourth: int, packing: int, masks: tuple[int, ...], header: int) -> bytes:
    """Return a BMP of 8 × 8 pixels (200, 60, 30) with 32 bits per pixel, of which the fourth byte is `fourth`."""
    pixels = bytes([30, 60, 200, fourth]) * 64
    info = struct.pack("<IiiHHIIiiII", header, 8, 8, 1, 32, packing, len(pixels), 0, 0, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks).ljust(header - 40, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(pixels), 0, 0, 14 + len(info)) + info + pixels


RGB_MASKS = (0xFF0000, 0xFF00, 0xFF)


@pytest.mark.parametrize(
    ("packing", "masks", "header", "expected"),
    [
        (0, (), 40, [200, 60, 30]),
        (3, RGB_MASKS, 40, [200, 60, 30]),
        (3, (*RGB_MASKS, 0), 108, [200, 60, 30]),
        (3, (*RGB_MASKS, 0xFF000000), 108, [251, 240, 237]),
    ],
)
def test_only_a_mask_makes_the_fourth_byte_of_a_bmp_alpha(packing: int, masks: tuple[int, ...], header: int, expected: list[int]) -> None:
    assert decoding.decode(bmp(20, packing, masks, header), "x")[4, 4].tolist() == expected


def test_pages_are_noted_and_masks_are_not() -> None:
    one = tiff(bands(3), None)
    start = struct.unpack_from("<I", one, 4)[0]
    count = struct.unpack_from("<H", one, start)[0]
    link = start + 2 + 12 * count
    for kind, note in ((0, "several frames or pages, of which the first is read"), (1, ""), (4, "")):
        second = struct.pack("<HHHIII", 1, 254, 4, 1, kind, 0)
        data = one[:link] + struct.pack("<I", len(one)) + one[link + 4 :] + second
        assert headers.parse(data).note == note
