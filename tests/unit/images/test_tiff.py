"""Grey TIFFs with alpha, which OpenCV reads without alpha."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import ImageError
from zoo.images import decoding

Array = NDArray[Any]
Order = Literal["<", ">"]


def pixels(dtype: type[np.unsignedinteger[Any]], size_hw: tuple[int, int] = (13, 21)) -> Array:
    """Return random grey and alpha, [H, W, 2]."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (*size_hw, 2)).astype(dtype)


TAGS = {
    "compression": 259,
    "photometric": 262,
    "orientation": 274,
    "strip_bytes": 279,
    "planar": 284,
    "predictor": 317,
    "extra": 338,
    "tile": 322,
}
ORDINARY: dict[str, int | None] = {"compression": 1, "photometric": 1, "orientation": 1, "planar": 1, "predictor": 1, "extra": 2}


def tiff(pixels: Array, order: Order = "<", strips: int = 1, directory_first: bool = False, **changed: int | None) -> bytes:
    """Write grey and alpha as a TIFF according to TIFF 6.0; `changed` overrides tags, with None to omit one."""
    tags = ORDINARY | changed
    stored = pixels.copy()
    if tags["predictor"] == 2:
        stored[:, 1:] = pixels[:, 1:] - pixels[:, :-1]
    rows = -(-len(pixels) // strips)
    chunks = [stored[at : at + rows].astype(stored.dtype.newbyteorder(order)).tobytes() for at in range(0, len(pixels), rows)]
    if tags["compression"] == 8:
        chunks = [zlib.compress(chunk) for chunk in chunks]
    body = b"".join(chunks)
    body += b"" if directory_first else bytes(len(body) % 2)
    height, width, samples = pixels.shape
    depths = [8 * pixels.dtype.itemsize] * samples
    entries = {256: (3, [width]), 257: (3, [height]), 258: (3, depths), 277: (3, [samples]), 278: (3, [rows])}
    entries |= {279: (4, [len(chunk) for chunk in chunks])}
    entries |= {TAGS[name]: (3, [value]) for name, value in tags.items() if value is not None}
    places = np.cumsum([0, *map(len, chunks[:-1])])
    entries = {tag: entry for tag, entry in entries.items() if tag not in [TAGS[name] for name, value in tags.items() if value is None]}
    length = len(directory(order, 8, entries | {273: (4, places.tolist())}))
    places += 8 + (length if directory_first else 0)
    start = 8 if directory_first else 8 + len(body)
    written = directory(order, start, entries | {273: (4, places.tolist())})
    parts = (written, body) if directory_first else (body, written)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start) + b"".join(parts)


def directory(order: Order, start: int, entries: dict[int, tuple[int, list[int]]]) -> bytes:
    """Return a directory at the offset `start`, followed by the values that don't fit into its entries."""
    written, tail, after = b"", b"", start + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        raw = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(f"{order}I", after + len(tail))
        tail += raw if len(raw) > 4 else b""
        written += struct.pack(f"{order}HHI", tag, kind, len(values)) + place
    return struct.pack(f"{order}H", len(entries)) + written + bytes(4) + tail


def over_white(pixels: Array) -> Array:
    """Return the expected image, [H, W, 3] uint8: samples are scaled to 8 bits first, as in all 16-bit images."""
    peak = np.iinfo(pixels.dtype).max
    grey, alpha = np.moveaxis((pixels.astype(np.int64) * 255 + peak // 2) // peak, 2, 0)
    expected: Array = np.repeat(((grey * alpha + 255 * (255 - alpha) + 127) // 255)[..., None], 3, axis=2)
    return expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize(("compression", "strips"), [(1, 1), (1, 4), (8, 1), (8, 4)])
def test_alpha_over_white(dtype: Any, order: Order, predictor: int, compression: int, strips: int) -> None:
    grey_alpha = pixels(dtype)
    image = decoding.decode(tiff(grey_alpha, order, strips, predictor=predictor, compression=compression), "x")
    np.testing.assert_array_equal(image, over_white(grey_alpha))
    assert image.flags.c_contiguous


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_what_pillow_wrote(compression: str | None) -> None:
    grey_alpha = pixels(np.uint8)
    buffer = io.BytesIO()
    picture = Image.merge("LA", [Image.fromarray(grey_alpha[..., index]) for index in (0, 1)])
    picture.save(buffer, "TIFF", **({"compression": compression} if compression else {}))
    np.testing.assert_array_equal(decoding.decode(buffer.getvalue(), "x"), over_white(grey_alpha))


def test_grey_that_is_multiplied_already() -> None:
    grey_alpha = np.array([[[0, 0], [100, 128], [255, 255]]], np.uint8)
    assert decoding.decode(tiff(grey_alpha, extra=1), "x")[0, :, 1].tolist() == [255, 227, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_pixels_and_not_pairs(orientation: int) -> None:
    upright = tiff(pixels(np.uint8, (5, 3)))
    turned = decoding.decode(tiff(pixels(np.uint8, (5, 3)), orientation=orientation), "x")
    undo = [None, None, np.fliplr, lambda it: it[::-1, ::-1], np.flipud, lambda it: it.transpose(1, 0, 2)]
    undo += [lambda it: np.rot90(it, -1), lambda it: it[::-1, ::-1].transpose(1, 0, 2), lambda it: np.rot90(it, 1)]
    plain: Array = decoding.decode(upright, "x")
    method = undo[orientation]
    np.testing.assert_array_equal(turned, plain if method is None else method(plain))


@pytest.mark.parametrize(("dtype", "kind"), [(np.uint8, 0), (np.uint8, 1), (np.uint16, 0), (np.uint16, 1)])
def test_white_may_be_0(dtype: Any, kind: int) -> None:
    """With 16 bits OpenCV alone returns a negative."""
    grey = pixels(dtype)[..., :1]
    expected = over_white(np.dstack([grey, np.full_like(grey, np.iinfo(dtype).max)]))
    image = decoding.decode(tiff(grey, photometric=kind, extra=None), "x")
    np.testing.assert_array_equal(image, 255 - expected if kind == 0 else expected)


@pytest.mark.parametrize("changed", [
    {"strip_bytes": None}, {"planar": 3}, {"compression": 7}, {"predictor": 3}, {"tile": 16},
])  # fmt: skip
def test_rare_layouts_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="is a TIFF whose bands are stored in a layout that OpenCV can't read"):
        decoding.decode(tiff(pixels(np.uint8), **changed), "x")


@pytest.mark.parametrize("extra", [0, None])
def test_a_second_sample_that_may_be_anything_is_refused(extra: int | None) -> None:
    with pytest.raises(ImageError, match="is a TIFF with 2 bands that aren't declared as grey or RGB, with or without alpha"):
        decoding.decode(tiff(pixels(np.uint8), extra=extra), "x")


def test_the_limit_counts_pixels_and_not_samples() -> None:
    data = tiff(pixels(np.uint8))
    assert decoding.Decoding(max_pixels=13 * 21).decode(data, "x")[0].shape == (13, 21, 3)
    with pytest.raises(ImageError, match="is too large: 21×13 pixels, the limit is 272"):
        decoding.Decoding(max_pixels=13 * 21 - 1).decode(data, "x")


@pytest.mark.parametrize("directory_first", [False, True])
@pytest.mark.parametrize("compression", [1, 8])
def test_every_cut_is_found(directory_first: bool, compression: int) -> None:
    """OpenCV receives an appended directory, which must never be mistaken for missing data."""
    grey_alpha = pixels(np.uint8, (6, 11))
    data = tiff(grey_alpha, strips=3, directory_first=directory_first, compression=compression)
    np.testing.assert_array_equal(decoding.decode(data, "x"), over_white(grey_alpha))
    for cut in range(len(data)):
        with pytest.raises(ImageError):
            decoding.decode(data[:cut], "x")


def test_flipped_bytes_raise_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    data, rng, refused = tiff(pixels(np.uint8), compression=8, strips=3), random.Random(0), 0
    for _ in range(500):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] = rng.randrange(256)
        try:
            assert decoding.decode(bytes(damaged), "x").dtype == np.uint8
        except ImageError:
            refused += 1
    assert refused > 100
    assert capfd.readouterr().err == ""
