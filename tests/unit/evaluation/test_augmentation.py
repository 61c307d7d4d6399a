"""Views of an image: their sizes, and flips within the unpadded size of each image."""

from __future__ import annotations

import pytest
import torch

from zoo.errors import InputError
from zoo.evaluation.ensemble import View, mirrored, views_of
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.task.combination import check_tta

SCALES = (0.875, 1.0, 1.25)


def sizes(views: tuple[View, ...]) -> list[tuple[int, int]]:
    return [view.preprocess.size_hw for view in views]


def test_without_augmentation_there_is_the_models_own_view() -> None:
    own = Preprocess(size_hw=(224, 224))
    assert views_of(own, (), SCALES, 32) == (View(own),)


def test_every_size_is_seen_plain_and_mirrored() -> None:
    own = Preprocess(size_hw=(224, 224), crop_pct=0.9)
    views = views_of(own, ("flip", "scales"), SCALES, 32)
    assert views[0] == View(own)
    assert [(*view.preprocess.size_hw, view.mirror) for view in views] == [
        (224, 224, False), (224, 224, True), (192, 192, False), (192, 192, True), (288, 288, False), (288, 288, True),
    ]  # fmt: skip
    assert {view.preprocess.crop_pct for view in views} == {0.9}


def test_sizes_are_multiples_of_the_stride_and_come_once() -> None:
    assert sizes(views_of(Preprocess(size_hw=(32, 32)), ("scales",), SCALES, 4)) == [(32, 32), (28, 28), (40, 40)]
    assert sizes(views_of(Preprocess(size_hw=(16, 16)), ("scales",), SCALES, 32)) == [(16, 16), (32, 32)]


def test_pictures_that_are_padded_anyway_are_scaled_to_whole_pixels() -> None:
    own = Preprocess(policy="fit", size_hw=(333, 555))
    assert sizes(views_of(own, ("scales",), (0.8, 1.0, 1.25), 64)) == [(333, 555), (266, 444), (416, 694)]


def test_a_mirror_image_stays_within_the_pictures_own_size() -> None:
    pixels = torch.zeros(2, 3, 4, 6)
    pixels[0, :, :3, :5] = torch.arange(1.0, 6)
    pixels[1] = torch.arange(6.0)
    turned = mirrored(ImageBatch(pixels, ((3, 5), (4, 6)), ((30, 50), (4, 6))))
    assert turned.pixels[0, 0].tolist() == [[5, 4, 3, 2, 1, 0]] * 3 + [[0] * 6]
    assert turned.pixels[1, 2].tolist() == [[5, 4, 3, 2, 1, 0]] * 4
    assert (turned.sizes_hw, turned.original_sizes_hw) == (((3, 5), (4, 6)), ((30, 50), (4, 6)))
    assert pixels[1, 0, 0].tolist() == [0, 1, 2, 3, 4, 5], "the input batch must not be modified"


def test_augmentations_by_name() -> None:
    assert check_tta(["scales", "flip", "flip"]) == ("flip", "scales")
    with pytest.raises(InputError, match=r"unknown test-time augmentation 'flop'\. Nearest: flip"):
        check_tta(["flop"])
