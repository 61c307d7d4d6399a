"""Means over rectangles, beside torch's own adaptive pooling."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from zoo.tasks.face.area import AreaSums

RNG = np.random.default_rng(0)
SIDES = st.integers(1, 40)


def pooled(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    chw = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    found: np.ndarray = F.interpolate(chw, size=size_hw, mode="area")[0].numpy()
    return found


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(1, 40))
def test_bands_of_another_size_are_what_torch_pools(height: int, width: int, new_height: int, new_width: int, rows: int) -> None:
    image = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    bands = [(first, min(first + rows, new_height)) for first in range(0, new_height, rows)]
    found = np.concatenate(list(AreaSums.of(image).shrunk((new_height, new_width), bands)), 1)
    np.testing.assert_allclose(found, pooled(image, (new_height, new_width)), rtol=1e-5, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 19), st.integers(1, 30), st.integers(1, 20)), max_size=5), st.integers(1, 30))
def test_crops_are_what_torch_pools(places: list[tuple[int, int, int, int]], side: int) -> None:
    image = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    boxes = np.array([(x, y, min(x + w, 30), min(y + h, 20)) for x, y, w, h in places], np.int64).reshape(-1, 4)
    found = AreaSums.of(image).crops(boxes, side)
    assert found.shape == (len(places), 3, side, side)
    for crop, (left, top, right, bottom) in zip(found, boxes, strict=True):
        np.testing.assert_allclose(crop, pooled(image[top:bottom, left:right], (side, side)), rtol=1e-5, atol=1e-4)


def test_a_picture_whose_sums_leave_32_bits() -> None:
    image = np.full((3000, 2900, 3), 255, np.uint8)  # 8.7 million pixels: the sum is above 2 ** 31
    sums = AreaSums.of(image)
    assert sums.sums.dtype == np.float64
    assert sums.sums[-1, 0, -1] == 3000 * 2900 * 255
    (whole,) = sums.shrunk((2, 2), [(0, 2)])
    np.testing.assert_allclose(whole, 255, rtol=1e-6)
    assert AreaSums.of(image[:100]).sums.dtype == np.int32
