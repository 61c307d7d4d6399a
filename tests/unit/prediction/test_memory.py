"""Images in memory as sources of predictions: PIL images, arrays, tensors, bytes, open files and samples."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import COLOURS, picture
from tests.unit.prediction.test_sources import Reading, keys
from zoo.errors import ImageError, InputError

RED = picture(COLOURS["red"], size_hw=(32, 48))
GREY = RED[..., 0]
RGBA = np.dstack([np.full((32, 48, 3), (200, 60, 30), np.uint8), np.full((32, 48), 20, np.uint8)])
OVER_WHITE = np.full((32, 48, 3), (251, 240, 237), np.uint8)
REPEATED = np.repeat(GREY[..., None], 3, axis=2)
CHW = torch.from_numpy(RED).permute(2, 0, 1)


def png(image: Any = RED) -> bytes:
    return bytes(cv2.imencode(".png", image[..., ::-1])[1])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (RED, RED),
        (GREY, REPEATED),
        (GREY[..., None], REPEATED),
        (RGBA, OVER_WHITE),
        (RED.astype(np.float32) / 255, RED),
        (RED.astype(np.float64) / 255, RED),
        (RED.astype(np.uint16) * 257, RED),
        (GREY.astype(np.float32) / 255, REPEATED),
        (RED[:, ::-1], RED[:, ::-1]),
        (CHW, RED),
        (CHW.float() / 255, RED),
        (CHW[:1], REPEATED),
        (CHW[0], REPEATED),
        (torch.from_numpy(RGBA).permute(2, 0, 1), OVER_WHITE),
        ((CHW.float() / 255).requires_grad_(), RED),
        (Image.fromarray(RED), RED),
        (Image.fromarray(GREY), REPEATED),
        (Image.fromarray(RGBA), OVER_WHITE),
        (Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE).convert("RGB"), None),
        (Image.fromarray(GREY.astype(np.uint16) * 257), REPEATED),
        (Image.fromarray(GREY.astype(np.int32) * 257), REPEATED),
        (Image.fromarray(RED).convert("CMYK"), RED),
        (Image.fromarray(GREY > 100), np.repeat((GREY > 100)[..., None], 3, axis=2) * np.uint8(255)),
        (png(), RED),
        (bytearray(png()), RED),
        (memoryview(png()), RED),
        (np.frombuffer(png(), np.uint8), RED),
        (torch.frombuffer(bytearray(png()), dtype=torch.uint8), RED),
        (io.BytesIO(png()), RED),
        (SimpleNamespace(image=RED, key="mine"), RED),
        ({"image": Image.fromarray(RED), "key": "mine", "target": 3}, RED),
    ],
)
def test_one_image(source: Any, expected: Any) -> None:
    expected = np.asarray(source) if expected is None else expected
    for place in (source, [source], iter([source])):
        if isinstance(source, io.BytesIO):
            source.seek(0)
        (frame,) = Reading()(place)
        assert frame.image.dtype == np.uint8
        np.testing.assert_array_equal(frame.image, expected)


def test_batches_and_names(tmp_path: Path) -> None:
    assert keys(np.stack([RED, RED])) == ["array 0", "array 1"]
    assert keys(torch.stack([CHW, CHW])) == ["tensor 0", "tensor 1"]
    assert keys([RED, np.stack([RED, RED]), CHW, Image.fromarray(RED), png()]) == [
        "array 0", "array 1 0", "array 1 1", "tensor 2", "image 3", "image 4",
    ]  # fmt: skip
    assert keys(RED) == ["array"]
    assert keys(png()) == ["image"]
    path = tmp_path / "red.png"
    path.write_bytes(png())
    with path.open("rb") as file, Image.open(path) as image:
        assert keys(file) == keys(image) == [str(path)]
    assert keys({"image": RED, "key": "mine"}) == ["mine"]
    assert keys(path for _ in range(2)) == [str(path)] * 2


def test_an_opened_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RED).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        (frame,) = Reading()(image)
    np.testing.assert_array_equal(frame.image, np.rot90(RED, -1))


def test_limits_and_damage(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(png()[:-40])
    for source in (png(), Image.fromarray(RED), io.BytesIO(png())):
        with pytest.raises(ImageError, match="is too large: 48×32 pixels, the limit is 1000"):
            Reading(max_pixels=1000)(source)
    with Image.open(tmp_path / "cut.png") as image:
        for source in (image, png()[:-40]):
            with pytest.raises(ImageError, match=r"(cut\.png|image): (can't be decoded|is cut short)"):
                Reading()(source)
            reading = Reading(skip=True)
            assert reading([source, RED])[0].key == "array 1"
            assert len(reading.faults) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", r"image: is empty \(0 bytes\)"),
        (b"\xff\xd8\xff", "image: is cut short"),
        (io.StringIO("text"), "the open file image yields str; expected bytes. Open it with open"),
        ({"picture": 1}, "the source is a mapping with the keys 'picture'; expected 'image' and 'key'"),
        ({"image": "a.png"}, "the image of image is a str; expected an array, a tensor or a PIL image"),
        (RED.astype(np.float32), "array is float32 from .*; expected RGB .* or float 0–1, not normalised"),
        (np.full((4, 4, 3), np.nan), "array is float64 from nan to nan"),
        (RED.astype(np.int64), r"array is int64 of shape \(32, 48, 3\); expected RGB"),
        (np.zeros((0, 4, 3), np.uint8), r"array is uint8 of shape \(0, 4, 3\)"),
        (torch.zeros(32, 48, 3), r"tensor is a tensor of shape \(32, 48, 3\); expected \[3, H, W\] or \[B, 3, H, W\], RGB"),
        (Image.fromarray(GREY.astype(np.float32)), "image: has floating-point pixels"),
        (Image.fromarray(np.full((4, 4), 70000, np.int32)), "image: is damaged: it contains the value 70000"),
        (object(), "the source is a object; expected an image"),
    ],
)
def test_what_is_no_image(source: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("a camera was opened"))
    with pytest.raises(InputError, match=message):
        keys(source)
