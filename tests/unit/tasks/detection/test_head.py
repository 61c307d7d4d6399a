"""The head on any backbone: shapes, losses, gradients, empty images, crowds, precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.backbones import Level
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model
from zoo.task.head import HeadSpec
from zoo.tasks.detection.model.head import FasterRCNNHead, pyramid_levels
from zoo.tasks.detection.options import HEADS, DetectionOptions

TRUNKS = ["resnet20", "test_resnet"]


def small_model(backbone: str = "test_resnet", **options: Any) -> Model:
    torch.manual_seed(0)
    return zoo.build(backbone, task="detection", classes=["cat", "dog"], **{"image_size": 64, "score_threshold": 0.0, **options})


def pictures(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 64, 64 + 16 * index, generator=generator) for index in range(count)]


def target(boxes: list[list[float]], labels: list[int], **more: Any) -> dict[str, Any]:
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64), **more}


CAT = target([[10.0, 10.0, 40.0, 50.0]], [0])
NOTHING = target([], [])


@pytest.mark.parametrize("backbone", TRUNKS)
@pytest.mark.parametrize("targets", [[CAT, NOTHING], [NOTHING, NOTHING]], ids=["one object", "no object"])
def test_losses_are_finite_and_reach_every_parameter(backbone: str, targets: list[dict[str, Any]]) -> None:
    model = small_model(backbone).train()
    losses = model(pictures(), targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(bool(loss.isfinite()) and loss.ndim == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("backbone", TRUNKS)
@pytest.mark.parametrize("training", [True, False])
def test_answers_and_losses_in_both_modes(backbone: str, training: bool) -> None:
    model = small_model(backbone, max_detections=7).train(training)
    with torch.no_grad():
        answers = model(pictures())
        losses = model(pictures(), [CAT, NOTHING])
    assert len(losses) == 4
    for answer, picture in zip(answers, pictures(), strict=True):
        assert set(answer) == {"boxes", "labels", "scores"}
        assert answer["boxes"].shape == (7, 4)
        assert answer["boxes"].dtype == torch.float32
        assert bool((answer["scores"].diff() <= 0).all())
        assert set(answer["labels"].tolist()) <= {0, 1}
        height, width = picture.shape[1:]
        assert float(answer["boxes"].min()) >= 0
        assert bool((answer["boxes"][:, 2] <= width + 1e-3).all())
        assert bool((answer["boxes"][:, 3] <= height + 1e-3).all())


@pytest.mark.parametrize("mark", ["iscrowd", "difficult"])
def test_crowds_and_difficult_objects_are_not_trained_on(mark: str) -> None:
    model = small_model()
    marked = target([[10.0, 10.0, 40.0, 50.0], [0.0, 0.0, 30.0, 30.0]], [0, 1], **{mark: torch.tensor([False, True])})
    found = []
    for first in (CAT, marked):
        torch.manual_seed(1)
        with torch.no_grad():
            found.append(model(pictures(), [first, NOTHING]))
    assert found[0] == found[1]


def test_targets_are_in_original_coordinates() -> None:
    """An image twice as large with boxes twice as large gives the same losses and detections."""
    model = small_model()
    small, large = torch.full((3, 64, 64), 0.5), torch.full((3, 128, 128), 0.5)
    losses = []
    for picture, factor in ((small, 1.0), (large, 2.0)):
        torch.manual_seed(1)
        with torch.no_grad():
            losses.append(model([picture], [{"boxes": CAT["boxes"] * factor, "labels": CAT["labels"]}]))
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value)
    with torch.no_grad():
        torch.testing.assert_close(model([large])[0]["boxes"], model([small])[0]["boxes"] * 2, rtol=1e-4, atol=1e-3)


def test_numpy_targets_are_taken() -> None:
    model = small_model()
    torch.manual_seed(1)
    expected = model(pictures(1), [CAT])
    torch.manual_seed(1)
    assert model(pictures(1), [{"boxes": np.array([[10, 10, 40, 50]]), "labels": np.array([0])}]) == expected


def test_boxes_are_float32_under_bf16() -> None:
    model = small_model()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        (answer,) = model(pictures(1))
        losses = model(pictures(1), [CAT])
    assert answer["boxes"].dtype == answer["scores"].dtype == torch.float32
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    # bf16 has three significant digits: all coordinates would be coarse
    assert not torch.equal(answer["boxes"], answer["boxes"].bfloat16().float())


def test_only_answers_above_the_threshold_are_given() -> None:
    with torch.no_grad():
        scores = torch.cat([answer["scores"] for answer in small_model()(pictures())])
        threshold = float(scores.median())
        sure = torch.cat([answer["scores"] for answer in small_model(score_threshold=threshold)(pictures())])
    assert 0 < len(sure) < len(scores)
    assert float(sure.min()) > threshold


@pytest.mark.parametrize(("targets", "message"), [
    ([CAT], r"1 targets for 2 images"),
    ([CAT, target([], [0])], r"0 boxes and labels of shape \(1,\)"),
    ([CAT, target([[0.0, 0.0, 5.0, 5.0]], [2])], r"labels range from 2 to 2; expected 0 to 1"),
    ([CAT, target([[0.0, 0.0, 5.0, 5.0]], [-1])], r"labels range from -1 to -1"),
])  # fmt: skip
def test_wrong_targets_are_refused(targets: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_model()(pictures(), targets)


def head_on(strides: tuple[int, ...], size: int = 800, num_classes: int = 2, anchor_scale: int = 8) -> FasterRCNNHead:
    levels = tuple(Level(f"c{index}", 8, stride) for index, stride in enumerate(strides, start=2))
    options = DetectionOptions(image_size=64, anchor_scale=anchor_scale).settled()
    return FasterRCNNHead(HeadSpec(levels, num_classes, options, Preprocess("fit", (size, size))))


def test_a_head_without_classes_is_refused() -> None:
    with pytest.raises(InputError, match=r"detection needs at least one class, got 0"):
        head_on((4, 8), num_classes=0)


@pytest.mark.parametrize("strides", [(8,), (4, 16), (16, 16), (3, 6), (1,)])
def test_unsuitable_levels_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError,
        match=r"strides .*; a feature pyramid needs at least two levels whose strides are powers of 2, each twice the previous one",
    ):
        head_on(strides)


def test_a_map_at_full_resolution_is_left_out_where_it_can_be() -> None:
    levels = tuple(Level(f"c{index}", 8, stride) for index, stride in enumerate((1, 2, 4)))
    assert [level.stride for level in pyramid_levels(levels)] == [2, 4]
    assert [level.stride for level in pyramid_levels(levels[:2])] == [1, 2]


@pytest.mark.parametrize(("strides", "size", "scale", "anchors"), [
    ((4, 8, 16, 32), 800, 8, [32, 64, 128, 256, 512]),  # torchvision's
    ((4, 8, 16, 32), 128, 8, [32, 64, 128, 256, 512]),
    ((4, 8, 16, 32), 320, 4, [16, 32, 64, 128, 256]),
    ((1, 2, 4), 64, 8, [16, 32, 64]),
    ((1, 2, 4), 320, 8, [16, 32, 64, 128, 256]),
    ((1, 2, 4), 320, 2, [4, 8, 16, 32, 64, 128, 256]),
])  # fmt: skip
def test_anchors_follow_the_strides(strides: tuple[int, ...], size: int, scale: int, anchors: list[int]) -> None:
    head = head_on(strides, size, anchor_scale=scale)
    assert [side for (side,) in head.rpn.anchor_generator.sizes] == anchors


def test_options_are_settled_by_the_image_size() -> None:
    full, light = DetectionOptions(image_size=800).settled(), DetectionOptions(image_size=400).settled()
    assert (full.max_image_size, light.max_image_size, DetectionOptions().settled().image_size) == (1333, 666, 320)
    assert {name: (getattr(full, name), getattr(light, name)) for name in HEADS} == HEADS
    assert DetectionOptions(image_size=400, fpn_channels=64).settled().fpn_channels == 64
    assert DetectionOptions(max_image_size=200).settled().image_size == 200
    assert full.settled() == full


@pytest.mark.parametrize(("values", "message"), [
    ({"score_threshold": 1.5}, r"score_threshold is 1.5; expected a number from 0 to 1"),
    ({"nms_threshold": -0.1}, r"nms_threshold is -0.1"),
    ({"max_detections": 0}, r"max_detections is 0; expected a number above 0"),
    ({"image_size": 0}, r"image_size is 0"),
    ({"fpn_channels": -1}, r"fpn_channels is -1"),
    ({"image_size": 200, "max_image_size": 100}, r"max_image_size is 100; expected .* at least image_size \(200\)"),
])  # fmt: skip
def test_wrong_options_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DetectionOptions(**values)


def test_preprocessing_is_torchvisions_at_full_size_and_antialiased_at_small() -> None:
    full = small_model(image_size=800)
    assert (full.preprocess.policy, full.preprocess.size_hw, full.preprocess.antialias) == ("fit", (800, 1333), False)
    assert full.config.options["fpn_channels"] == 256
    small = small_model()
    assert (small.preprocess.size_hw, small.preprocess.antialias) == ((64, 107), True)
    assert small.config.options["representation_size"] == HEADS["representation_size"][1]


def test_a_saved_detector_answers_the_same(tmp_path: Any) -> None:
    model = small_model()
    zoo.save(model, tmp_path / "model")
    again = zoo.load(tmp_path / "model")
    for one, other in zip(model(pictures()), again(pictures()), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_keep_the_anchors_that_they_were_trained_with(tmp_path: Path) -> None:
    folder = zoo.save(small_model(), tmp_path / "model")
    assert zoo.build("test_resnet", "detection", weights=folder, image_size=800, max_image_size=1333).config.options["anchor_scale"] == 4
    with pytest.raises(InputError, match=r"anchor_scale is 8, but the weights .* were trained with 4; omit it"):
        zoo.build("test_resnet", "detection", weights=folder, anchor_scale=8)
    with pytest.raises(InputError, match=r"anchor_scale is 8, but the weights of .* were trained with 4; omit it"):
        zoo.load(folder, anchor_scale=8)
    assert zoo.load(folder, anchor_scale=4).config.options["anchor_scale"] == 4
