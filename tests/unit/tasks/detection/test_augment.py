"""Augmentation of detection: boxes move with the pixels and keep their fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from zoo.data.dataset import Dataset, Record, Sample
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.tasks.detection.training.augment import Augment
from zoo.tasks.detection.training.recipe import DetectionRecipe

PLAIN: dict[str, Any] = {"flip": 0.0, "light": 0.0}
BOXES = np.array([[1, 2, 5, 8], [0, 0, 10, 4]], np.float32)
TARGET = {"boxes": BOXES, "labels": np.array([0, 2]), "iscrowd": np.array([True, False]), "annotated": np.zeros((2, 5))}


def sample(target: Any = TARGET) -> Sample:
    return Sample(np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8), target, "p")


def augment(size_hw: tuple[int, int] = (10, 12), **settings: Any) -> Augment:
    """Return the augmentation for a model whose images have this shorter and longer side."""
    return Augment(DetectionRecipe(**{**PLAIN, **settings}), Preprocess(policy="fit", size_hw=size_hw), Dataset("none", ()))


def marked(size_hw: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Sample:
    """Return a black image with a rectangle in a different colour for each box."""
    image = np.zeros((*size_hw, 3), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = COLOURS[number]
    target = {"boxes": np.array(boxes, np.float32), "labels": np.arange(len(boxes)), "ids": np.arange(len(boxes)) + 7}
    return Sample(image, target, "marked")


COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def found(image: Any, label: int) -> list[float]:
    """Return the box around the pixels in a label's colour."""
    rows, columns = np.nonzero(image[..., label].astype(int) - image.sum(2) + image[..., label] > 100)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_mirrored_picture_has_mirrored_boxes() -> None:
    given = sample()
    out = augment(flip=1.0)(given)
    assert np.array_equal(out.image, given.image[:, ::-1])
    assert out.target["boxes"].tolist() == [[5, 2, 9, 8], [0, 0, 10, 4]]  # width 10: left is 10 - right
    expected = tvf.horizontal_flip(tv_tensors.BoundingBoxes(torch.from_numpy(BOXES), format="XYXY", canvas_size=(12, 10)))
    assert np.array_equal(out.target["boxes"], expected.numpy())
    assert out.target["iscrowd"].tolist() == [True, False]
    assert "annotated" not in out.target  # old positions
    assert given.target["boxes"].tolist() == BOXES.tolist()


def test_a_picture_may_stand_on_its_head() -> None:
    given = sample()
    out = augment(flip_vertical=1.0)(given)
    assert np.array_equal(out.image, given.image[::-1])
    assert out.target["boxes"].tolist() == [[1, 4, 5, 10], [0, 8, 10, 12]]  # height 12


def test_light_changes_the_picture_and_no_box() -> None:
    torch.manual_seed(0)
    given = sample()
    out = augment(light=0.5)(given)
    assert not np.array_equal(out.image, given.image)
    assert (out.image.shape, out.image.dtype.name) == (given.image.shape, "uint8")
    assert np.array_equal(out.target["boxes"], BOXES)


def test_without_augmentation_nothing_changes_and_empty_pictures_pass() -> None:
    nothing = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
    assert np.array_equal(augment()(sample(nothing)).image, sample(nothing).image)
    out = augment(flip=1.0, light=0.2, jitter_min=0.5, jitter_max=2.0)(sample(nothing))
    assert out.target["boxes"].shape == (0, 4)


def test_pictures_come_in_the_size_that_the_preprocessing_wants() -> None:
    preprocess = Preprocess(policy="fit", size_hw=(48, 80))
    for size_hw in ((60, 100), (100, 60), (20, 30), (31, 77)):
        for settings in ({}, {"jitter_min": 0.3, "jitter_max": 3.0}):
            out = augment((48, 80), **settings)(marked(size_hw, (2, 3, 12, 15)))
            assert out.image.shape[:2] == preprocess.resized_hw(*size_hw)
            # floor(77 × (80 / 77)) is 79: rounding may still cost a pixel; boxes are scaled accordingly
            assert preprocess(out.image).shape[1:] in (out.image.shape[:2], (32, 80))


def test_a_picture_that_is_only_scaled_is_scaled_as_for_evaluation() -> None:
    preprocess = Preprocess(policy="fit", size_hw=(48, 80))
    given = Sample(np.random.default_rng(1).integers(0, 256, (60, 100, 3)).astype(np.uint8), TARGET, "p")
    here = preprocess(augment((48, 80))(given).image)
    assert float((here - preprocess(given.image)).abs().max()) < 1.5 / 255  # whole grey levels
    assert np.allclose(augment((48, 80))(given).target["boxes"], BOXES * 0.8)


@pytest.mark.parametrize("scale", [0.4, 0.7, 1.0, 1.6, 3.0])
def test_boxes_are_where_the_rectangles_are(scale: float) -> None:
    """Rectangles are drawn, the image is jittered, and the rectangles are located by their colours."""
    boxes = ((20, 30, 60, 50), (90, 20, 110, 70), (40, 60, 70, 85))
    seen = 0
    for seed in range(12):
        torch.manual_seed(seed)
        out = augment((96, 160), jitter_min=scale, jitter_max=scale, flip=0.5, flip_vertical=0.5)(marked((100, 150), *boxes))
        for box, label, identity in zip(out.target["boxes"], out.target["labels"], out.target["ids"], strict=True):
            assert identity == label + 7  # the fields still belong to the same box
            np.testing.assert_allclose(found(out.image, label), box, atol=1.01)
            seen += 1
    assert seen >= 8


def test_objects_beyond_the_canvas_vanish_with_all_that_is_known_of_them() -> None:
    torch.manual_seed(0)
    boxes = ((0, 0, 20, 20), (130, 80, 150, 100))  # opposite corners: never both in a third of the image
    counts = set()
    for _ in range(40):
        out = augment((100, 150), jitter_min=3.0, jitter_max=3.0)(marked((100, 150), *boxes))
        counts.add(len(out.target["boxes"]))
        assert {len(array) for array in out.target.values()} == {len(out.target["boxes"])}
        areas = (out.target["boxes"][:, 2:] - out.target["boxes"][:, :2]).prod(1)
        assert (areas >= 0.1 * 9 * 400 - 60).all()  # at least a tenth of 20 × 20 pixels, three times as large
        np.testing.assert_allclose(out.target["area"], areas, rtol=0.05, atol=5)
    assert counts == {0, 1}


def test_what_is_moved_away_lies_on_the_mean_colour() -> None:
    torch.manual_seed(0)
    white = Sample(np.full((100, 100, 3), 255, np.uint8), {"boxes": [[0, 0, 100, 100]], "labels": [0]}, "white")
    out = augment((100, 100), jitter_min=0.5, jitter_max=0.5)(white)
    left, top, right, bottom = out.target["boxes"][0].astype(int)
    assert (right - left, bottom - top) == (50, 50)
    assert (out.image[top:bottom, left:right] == 255).all()
    outside = np.ones((100, 100), bool)
    outside[top:bottom, left:right] = False
    assert {tuple(pixel) for pixel in out.image[outside].tolist()} == {(124, 116, 104)}  # ImageNet's mean in grey levels


def test_scales_and_places_differ_from_draw_to_draw() -> None:
    torch.manual_seed(0)
    change = augment((100, 100), jitter_min=0.5, jitter_max=2.0)
    boxes = [tuple(change(marked((100, 100), (40, 40, 60, 60))).target["boxes"].round().reshape(-1)) for _ in range(10)]
    widths = [box[2] - box[0] for box in boxes if box]
    assert len(set(boxes)) > 7
    assert min(widths) < 20 < max(widths)


@pytest.mark.parametrize("name", ["flip", "flip_vertical", "light", "copy_paste"])
def test_a_part_outside_nought_to_one_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"recipe: {name} is 1.5; expected a value in \[0, 1\]"):
        DetectionRecipe(**{name: 1.5})  # type: ignore[arg-type]


@pytest.mark.parametrize(("settings", "message"), [
    ({"jitter_min": 1.5}, r"jitter_min is 1.5 and jitter_max 1.0; expected 0.05 to 8, the smaller one first"),
    ({"scale_min": 0.0}, r"scale_min is 0.0 and scale_max 1.0"),
    ({"scale_max": 9.0}, r"scale_min is 1.0 and scale_max 9.0"),
    ({"scale_max": float("nan")}, r"scale_min is 1.0 and scale_max nan"),
])  # fmt: skip
def test_a_senseless_range_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DetectionRecipe(**settings)  # type: ignore[arg-type]


def test_data_without_masks_can_not_be_pasted_from() -> None:
    data = Dataset("voc:cells", (Record("p", sample().image, TARGET),))
    with pytest.raises(InputError, match=r"copy_paste needs the objects' masks; dataset 'voc:cells' has only boxes\. Use coco: data"):
        Augment(DetectionRecipe(copy_paste=0.5), Preprocess(policy="fit"), data)
