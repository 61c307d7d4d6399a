"""Preprocessing: comparison with torchvision and timm, and edge cases."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.v2.functional import InterpolationMode

from zoo.errors import InputError
from zoo.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, as_float, check_pixels, to_chw

SIZES = [(300, 400), (401, 299), (224, 224), (100, 57), (640, 37)]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize(("crop", "resize", "interpolation"), [(224, 256, "bilinear"), (224, 232, "bilinear"), (160, 182, "bicubic")])
def test_crop_is_torchvisions_preset(size_hw: tuple[int, int], crop: int, resize: int, interpolation: Any) -> None:
    image = noise(*size_hw)
    preset = ImageClassification(crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation))
    ours = Preprocess(size_hw=(crop, crop), crop_pct=crop / resize, interpolation=interpolation)(image)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    # on a PIL image, as when the weights were evaluated; torch's uint8 kernels almost always round like PIL's
    grey_levels = ((as_float(ours) - mean) / std - preset(Image.fromarray(image))) * std * 255
    assert grey_levels.abs().max() < 1.001
    assert grey_levels.abs().mean() < 0.05


@pytest.mark.parametrize("size_hw", SIZES)
def test_fit_is_torchvisions_detection_transform(size_hw: tuple[int, int]) -> None:
    transform = GeneralizedRCNNTransform(240, 400, list(IMAGENET_MEAN), list(IMAGENET_STD))
    image = torch.from_numpy(noise(*size_hw)).permute(2, 0, 1) / 255
    expected, _ = transform([image])
    batch = Preprocess("fit", (240, 400), antialias=False).batch([image])
    assert list(batch.sizes_hw) == [tuple(size) for size in expected.image_sizes]
    assert batch.original_sizes_hw == (size_hw,)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert batch.pixels.shape == expected.tensors.shape
    torch.testing.assert_close((batch.pixels - mean) / std, expected.tensors, atol=2e-5, rtol=0)


def test_squash_and_its_antialiasing() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    low_passed = Preprocess("squash", (16, 8))(stripes)
    assert low_passed.shape == (3, 16, 8)
    assert low_passed.float().std() < 4  # the stripes are finer than a pixel: grey remains
    assert int(low_passed.float().mean().round()) in (127, 128)
    assert Preprocess("squash", (16, 9))(stripes).float().std() < 4
    assert Preprocess("squash", (16, 9), antialias=False)(stripes).float().std() > 50


def test_a_solid_red_picture_stays_red() -> None:
    red = np.zeros((50, 70, 3), np.uint8)
    red[..., 0] = 255
    for policy in ("crop", "squash", "fit"):
        pixels = as_float(Preprocess(policy, (32, 32))(red))
        assert pixels.mean((1, 2)).tolist() == [1, 0, 0]


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), short=st.integers(1, 1000), longer=st.integers(0, 1000))
def test_fit_stays_within_its_bounds(height: int, width: int, short: int, longer: int) -> None:
    limit = short + longer
    high, wide = Preprocess("fit", (short, limit)).resized_hw(height, width)
    assert 1 <= min(high, wide) <= short
    assert max(high, wide) <= limit
    # one of the two bounds is reached, apart from rounding down
    assert min(high, wide) >= short - 1 or max(high, wide) >= limit - 1


@given(height=st.integers(1, 400), width=st.integers(1, 400), size=st.integers(1, 300), crop_pct=st.floats(0.5, 1))
def test_crop_is_never_larger_than_what_it_cuts_from(height: int, width: int, size: int, crop_pct: float) -> None:
    high, wide = Preprocess("crop", (size, size), crop_pct).resized_hw(height, width)
    assert min(high, wide) >= size
    assert (high <= wide) == (height <= width) or high == wide


@given(height=st.integers(1, 40), width=st.integers(1, 40), policy=st.sampled_from(["crop", "squash", "fit"]))
def test_every_picture_comes_out_in_the_size_that_was_announced(height: int, width: int, policy: Any) -> None:
    preprocess = Preprocess(policy, (20, 24))
    result = preprocess(noise(height, width))
    assert result.shape == (3, *(preprocess.resized_hw(height, width) if policy == "fit" else (20, 24)))
    assert result.dtype == (torch.float32 if policy == "fit" else torch.uint8)


def test_a_batch_of_several_sizes_is_padded_with_the_mean() -> None:
    preprocess = Preprocess("fit", (64, 100))
    batch = preprocess.batch([noise(64, 64), noise(30, 90)])
    assert batch.sizes_hw == ((64, 64), (33, 100))
    assert batch.original_sizes_hw == ((64, 64), (30, 90))
    assert batch.pixels.shape == (2, 3, 64, 128)
    assert torch.equal(batch.pixels[0, :, :64, :64], torch.from_numpy(noise(64, 64)).permute(2, 0, 1) / 255)
    assert torch.equal(batch.pixels[0, :, :, 64:], torch.tensor(IMAGENET_MEAN).view(3, 1, 1).expand(3, 64, 64))
    assert torch.equal(batch.pixels[1, :, 33:, :], torch.tensor(IMAGENET_MEAN).view(3, 1, 1).expand(3, 31, 128))


def test_batches_pass_as_the_caller_made_them() -> None:
    preprocess = Preprocess(size_hw=(8, 8))
    pixels = torch.rand(2, 3, 12, 10)
    batch = preprocess.batch(pixels)
    assert batch.pixels is pixels
    assert batch.sizes_hw == batch.original_sizes_hw == ((12, 10), (12, 10))
    assert preprocess.batch(batch) is batch
    assert len(batch) == 2
    assert len(preprocess.batch([noise(9, 9)] * 3)) == 3
    assert batch.to("meta").pixels.device.type == "meta"


def test_read_only_and_mirrored_arrays() -> None:
    image = noise(6, 5)
    expected = torch.from_numpy(image.copy()).permute(2, 0, 1)
    image.setflags(write=False)
    assert torch.equal(to_chw(image), expected)
    assert torch.equal(to_chw(image[:, ::-1]), expected.flip(2))


@given(
    policy=st.sampled_from(["crop", "squash", "fit"]),
    size_hw=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    crop_pct=st.floats(0.01, 1),
    antialias=st.booleans(),
    alignment=st.sampled_from([None, "arcface", "dlib"]),
)
def test_it_comes_back_from_its_dict(**values: Any) -> None:
    preprocess = Preprocess(**values)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


def test_a_dict_of_before_there_was_alignment_says_that_there_is_none() -> None:
    values = Preprocess(alignment="arcface").to_dict()
    assert values.pop("alignment") == "arcface"
    assert Preprocess.from_dict(json.loads(json.dumps(values))) == Preprocess(alignment=None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "stretch"}, "policy is 'stretch'; expected 'crop', 'squash', 'fit' or 'given'"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; expected 'bilinear' or 'bicubic'"),
        ({"size_hw": (0, 5)}, r"size_hw is \(0, 5\); expected a height and a width in pixels"),
        ({"size_hw": (5,)}, r"size_hw is \(5,\)"),
        ({"crop_pct": 0.0}, r"crop_pct is 0\.0; expected a fraction above 0"),
        ({"crop_pct": 1.1}, r"crop_pct is 1\.1"),
        ({"std": (1.0, 0.0, 1.0)}, "expected three numbers above 0"),
    ],
)
def test_settings_that_can_not_be_meant(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocess(**values)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"an image array has the shape \(4, 4\); expected \[H, W, 3\], RGB"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "dtype float32; expected uint8"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"an image tensor has the shape \(4, 4, 3\); expected \[3, H, W\]"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), r"dtype torch\.int64; expected uint8 \(0–255\) or float"),
        (torch.full((3, 4, 4), 200.0), "float images range from 200 to 200; expected 0–1, not normalised"),
        (torch.full((3, 4, 4), -2.0), "range from -2 to -2"),
        (torch.full((3, 4, 4), float("nan")), "range from nan to nan"),
    ],
)
def test_what_is_no_rgb_picture(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocess(size_hw=(4, 4)).batch([image])


def test_what_is_no_batch() -> None:
    with pytest.raises(InputError, match="the batch is empty"):
        Preprocess().batch([])
    with pytest.raises(InputError, match=r"images have the shape \(2, 1, 4, 4\); expected \[B, 3, H, W\]"):
        Preprocess().batch(torch.zeros(2, 1, 4, 4))
    check_pixels(torch.empty(0, 3, 4, 4))  # an empty batch contains no invalid values
