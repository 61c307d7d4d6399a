"""Area-averaged resizing with integral images: NumPy and kernels against torch's pooling."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from zoo.errors import InputError
from zoo.kernels.library import library
from zoo.tasks.face.detection.integral import AreaSums

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the kernels need Linux and a C++ compiler (g++)"
)
BOXES = np.array([[0, 0, 57, 83], [3, 5, 4, 6], [10, 0, 33, 83], [50, 70, 57, 83], [0, 40, 57, 41]])


@pytest.fixture(params=["kernels", "NumPy"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The implementation under test: kernels or NumPy."""
    if request.param == "NumPy":
        monkeypatch.setattr("zoo.tasks.face.detection.integral.library", lambda name: None)
    elif library("area") is None:
        pytest.skip("the kernels need Linux and a C++ compiler (g++)")
    return str(request.param)


def picture(height: int = 83, width: int = 57) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8)


def pooled(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return interpolate(torch.from_numpy(image).permute(2, 0, 1)[None].double(), size_hw, mode="area")[0].float().numpy()


@pytest.mark.parametrize("size_hw", [(40, 31), (83, 57), (1, 1), (12, 57), (83, 12), (60, 50)])
def test_a_shrunk_picture_is_torchs(by: str, size_hw: tuple[int, int]) -> None:
    image = picture()
    bands = [(0, size_hw[0] // 2), (size_hw[0] // 2, size_hw[0])]
    found = np.concatenate(list(AreaSums.of(image).shrunk(size_hw, bands)), 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pooled(image, size_hw), rtol=3e-7)


@pytest.mark.parametrize("side", [1, 24, 48])
def test_crops_are_torchs(by: str, side: int) -> None:
    image = picture()
    found = AreaSums.of(image).crops(BOXES, side)
    assert found.shape == (5, 3, side, side)
    for crop, (left, top, right, bottom) in zip(found, BOXES, strict=True):
        np.testing.assert_allclose(crop, pooled(image[top:bottom, left:right], (side, side)), rtol=1e-7)


def test_no_crops(by: str) -> None:
    assert AreaSums.of(picture()).crops(BOXES[:0], 24).shape == (0, 3, 24, 24)


def test_a_picture_whose_sums_exceed_32_bits(by: str) -> None:
    image = np.full((3500, 5001, 3), 255, np.uint8)  # sum 4.46e9; 32 bits hold 4.29e9
    image[-1, -1] = 7, 8, 9
    sums = AreaSums.of(image)
    (found,) = sums.shrunk((70, 100), [(0, 70)])
    np.testing.assert_array_equal(found[:, :-1], 255)
    np.testing.assert_allclose(found, pooled(image, (70, 100)), rtol=3e-7)
    np.testing.assert_array_equal(
        sums.crops(np.array([[5000, 3499, 5001, 3500]]), 2), np.array([7, 8, 9])[None, :, None, None] * np.ones((1, 3, 2, 2))
    )


@pytest.mark.parametrize(
    "image", [picture()[:, :, :1], picture()[:, :, 0], picture().astype(np.uint16), picture() / 255, np.zeros((9, 9, 4), np.uint8)]
)
def test_what_is_no_picture_is_refused(by: str, image: NDArray[Any]) -> None:
    with pytest.raises(InputError, match=r"the image has the shape .* and the dtype .*; expected RGB \[H, W, 3\] uint8"):
        AreaSums.of(image)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 58, 5), (0, 80, 5, 84), (5, 5, 5, 9), (7, 5, 5, 9)])
def test_crops_lie_in_the_picture(by: str, box: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a box is empty or extends beyond the image of 83×57 pixels"):
        AreaSums.of(picture()).crops(np.array([(0, 0, 5, 5), box]), 24)


@needs_compiler
def test_kernels_and_numpy_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of(image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        sums = AreaSums.of(image)
        return [*sums.shrunk((37, 41), [(0, 5), (5, 37)]), sums.crops(BOXES, 24), sums.sums]

    for image in (picture(), np.asfortranarray(picture()), picture(166, 57)[::2], picture()[:, :, ::-1]):
        ours = all_of(image)
        with monkeypatch.context() as patch:
            patch.setattr("zoo.tasks.face.detection.integral.library", lambda name: None)
            theirs = all_of(image)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
