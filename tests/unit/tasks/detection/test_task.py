"""Targets, answers and predictions of detection, and the keys of foreign weights."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from zoo.data.coco.file import safe_name
from zoo.data.dataset import Dataset, Record, Sample
from zoo.errors import Flaw, InputError, WeightsError
from zoo.models.weights.layouts.torchvision_detection import coco_classes, split_keys
from zoo.task.contract import get_task
from zoo.tasks.detection.data.targets import as_target, checked_box, keep_classes, relabelled
from zoo.tasks.detection.prediction.detections import Detections

BOXES = np.array([[1, 2, 5, 8], [0, 0, 10, 4]], np.float32)
TARGET = {"boxes": BOXES, "labels": np.array([0, 2]), "iscrowd": np.array([True, False])}


def sample(target: Any) -> Sample:
    return Sample(np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8), target, "p")


def test_a_target_is_completed() -> None:
    full = as_target({"boxes": [[0, 0, 3, 4]], "labels": [1]}, "p")
    assert {name: array.dtype.name for name, array in full.items()} == {
        "boxes": "float32", "labels": "int64", "iscrowd": "bool", "difficult": "bool", "area": "float32",
    }  # fmt: skip
    assert full["area"].tolist() == [12.0]
    assert as_target({"boxes": [], "labels": []}, "p")["boxes"].shape == (0, 4)


@pytest.mark.parametrize(("values", "message"), [
    (None, r"p: the target is a NoneType; expected"),
    ({"boxes": []}, r"p: the target is a dict; expected"),
    ({"boxes": [[0, 0, 1, 1]], "labels": []}, r"p: the target has 1 boxes and 0 labels"),
    ({"boxes": [[0, 0, 1, 1]], "labels": [0], "area": []}, r"p: the target has 1 boxes and 0 area"),
])  # fmt: skip
def test_a_target_that_does_not_fit_is_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_target(values, "p")


def test_classes_are_moved_and_dropped() -> None:
    assert relabelled(TARGET, [5, 6, 7])["labels"].tolist() == [5, 7]
    (record,) = keep_classes([Record("p", sample(None).image, TARGET)], [None, None, 0])
    assert record.target["labels"].tolist() == [0]
    assert record.target["boxes"].tolist() == [[0, 0, 10, 4]]
    (empty,) = keep_classes([Record("p", sample(None).image, TARGET)], [None, 0, None])
    assert empty.target["boxes"].shape == (0, 4)
    data = Dataset("d", (Record("p", sample(None).image, TARGET),), ("a", "b", "c"))
    moved = get_task("detection").data.relabel(data, [3, 4, 5], ("x",) * 6)
    assert moved.records[0].target["labels"].tolist() == [3, 5]


@pytest.mark.parametrize(("box", "expected"), [
    ((1, 2, 3, 4), (1, 2, 3, 4)),
    ((-1, 0, 21, 10.5), (0, 0, 20, 10)),
])  # fmt: skip
def test_boxes_may_stick_out_by_a_pixel(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert checked_box(box, (10, 20)) == expected


@pytest.mark.parametrize(("box", "reason", "kind"), [
    ((-1.01, 0, 5, 5), "outside the image of 20×10", "box-outside"),
    ((0, 0, 20, 11.5), "outside the image", "box-outside"),
    ((20, 2, 21, 4), "outside the image", "box-outside"),
    ((3, 2, 3, 4), "has no area", "box-no-area"),
    ((3, 4, 5, 2), "has no area", "box-swapped"),
])  # fmt: skip
def test_wrong_boxes_are_named_by_kind(box: tuple[float, ...], reason: str, kind: str) -> None:
    with pytest.raises(Flaw, match=reason) as caught:
        checked_box(box, (10, 20))
    assert (caught.value.kind, caught.value.box) == (kind, box)


def test_a_box_that_is_no_number_can_not_be_drawn() -> None:
    with pytest.raises(Flaw, match="not four finite numbers") as caught:
        checked_box((0, 0, float("nan"), 5), (10, 20))
    assert (caught.value.kind, caught.value.box) == ("annotation", None)


@pytest.mark.parametrize(("name", "safe"), [
    ("a.jpg", True), ("a/b.jpg", True), ("a..jpg", True), ("", False), ("/a.jpg", False), ("../a.jpg", False), ("a/../../b", False),
    ("..\\a.jpg", False), ("C:\\a.jpg", False), ("a\0.jpg", False),
])  # fmt: skip
def test_names_that_leave_the_folder_are_seen(name: str, safe: bool) -> None:
    assert safe_name(name) is safe


def test_answers_are_split_into_arrays() -> None:
    task = get_task("detection")
    answer = {"boxes": torch.tensor([[0.0, 1.0, 2.0, 3.0]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}
    (found,) = task.answers.split([answer])
    assert {name: array.dtype.name for name, array in found.items()} == {"boxes": "float32", "scores": "float32", "labels": "int64"}
    prediction = task.answers.prediction(found, sample(None).image, "p", ("a", "b"))
    assert isinstance(prediction, Detections)
    assert prediction.names == ["b"]
    (target,) = task.data.collate_targets([TARGET])
    assert target["boxes"].dtype == torch.float32


def detections(size_hw: tuple[int, int] = (12, 10), **values: Any) -> Detections:
    defaults = {"boxes": BOXES.copy(), "scores": np.array([0.9, 0.25], np.float32), "labels": np.array([0, 2])}
    return Detections("p", np.zeros((*size_hw, 3), np.uint8), **{**defaults, **values}, class_names=("a", "b", "c"))


def test_detections_are_frozen_and_json_ready() -> None:
    found = detections()
    assert (len(found), found.names) == (2, ["a", "c"])
    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0, 0] = 5
    assert json.loads(json.dumps(found.to_dict())) == {
        "key": "p", "boxes": BOXES.tolist(), "scores": [pytest.approx(0.9), 0.25], "labels": [0, 2], "names": ["a", "c"],
    }  # fmt: skip


@pytest.mark.parametrize(("values", "message"), [
    ({"boxes": BOXES[:1].copy()}, r"boxes of p is float32 of shape \(1, 4\); expected float32 \(2, 4\)"),
    ({"boxes": BOXES.astype(np.float64)}, r"boxes of p is float64"),
    ({"labels": np.array([0])}, r"labels of p is int64 of shape \(1,\)"),
    ({"labels": np.array([0, 3])}, r"labels of p range from 0 to 3; expected indices of the 3 class names"),
    ({"labels": np.array([-1, 0])}, r"labels of p range from -1 to 0; expected indices of the 3 class names"),
    ({"scores": np.array([0.2, 0.9], np.float32)}, r"scores of p are not in descending order"),
    ({"boxes": np.full((2, 4), np.nan, np.float32)}, r"boxes of p contain values that are not finite"),
])  # fmt: skip
def test_detections_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detections(**values)


@pytest.mark.parametrize(("size_hw", "drawn_wh"), [((12, 10), (400, 480)), ((600, 900), (900, 600)), ((2000, 3000), (3000, 2000))])
def test_boxes_are_drawn_at_every_size(size_hw: tuple[int, int], drawn_wh: tuple[int, int]) -> None:
    found = detections(size_hw)
    picture = found.plot()
    assert (picture.size, picture.mode) == (drawn_wh, "RGB")
    assert np.asarray(picture).any()
    assert not found.image.any()  # drawn on a copy
    none = detections(size_hw, boxes=BOXES[:0], scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int64))
    assert none.plot().size == drawn_wh
    assert not np.asarray(none.plot()).any()


def test_coco_has_ninety_names_that_differ() -> None:
    names = coco_classes()
    assert (len(names), len(set(names))) == (90, 90)
    assert (names[0], names[11], names[89]) == ("person", "N/A (id 12)", "toothbrush")
    assert sum(name.startswith("N/A") for name in names) == 10


def test_keys_of_other_detectors_are_refused() -> None:
    one = torch.zeros(1)
    trunk, head = split_keys({"backbone.body.conv1.weight": one, "backbone.fpn.inner_blocks.0.0.bias": one, "rpn.head.conv.bias": one})
    assert (list(trunk), list(head)) == (["conv1.weight"], ["fpn.inner_blocks.0.0.bias", "rpn.head.conv.0.0.bias"])
    with pytest.raises(WeightsError, match=r"1 keys don't belong to a Faster R-CNN: roi_heads.mask_head.0.0.weight"):
        split_keys({"roi_heads.mask_head.0.0.weight": one})
