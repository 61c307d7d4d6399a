"""Files of torchvision's detectors: version 2 of Faster R-CNN is read, and the others are named as what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import zoo
from tests.foreign import randomise
from zoo.errors import InputError, UnknownNameError, WeightsError
from zoo.models.weights.layouts import convert
from zoo.models.weights.names import known_weights
from zoo.tasks.detection.model.head import FasterRCNNHead

pytestmark = pytest.mark.usefixtures("one_thread")
V2 = "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1"
SIZES = ((32,), (64,), (128,), (256,), (512,))


def state_of(name: str, **options: Any) -> dict[str, Tensor]:
    """Return the state dict of an untrained detector of torchvision, without allocating its values."""
    with torch.device("meta"):
        model: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=3, **options)
    return dict(model.state_dict())


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize(("name", "version"), [("fasterrcnn_resnet50_fpn", 1), ("fasterrcnn_resnet50_fpn_v2", 2)])
def test_both_versions_are_recognised(name: str, version: int, prefix: str) -> None:
    weights = convert({f"{prefix}{key}": value for key, value in state_of(name).items()}, "resnet50", "w.pth")
    assert (weights.task, weights.num_classes, weights.norm_eps, weights.note) == ("detection", 2, None, "")
    assert {name: weights.options[name] for name in ("head_version", "image_size", "fpn_channels", "representation_size")} == {
        "head_version": version,
        "image_size": 800,
        "fpn_channels": 256,
        "representation_size": 1024,
    }


def test_version_2_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    theirs = randomise(detection.fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: theirs.state_dict())
    known = known_weights("resnet50", "detection")
    assert known[0] == "COCO_V1"
    assert V2 in known
    ours = zoo.build("resnet50", task="detection", weights=V2)
    assert (ours.config.weights, ours.classes[0], len(ours.classes), ours.preprocess.size_hw) == (V2, "person", 90, (800, 1333))
    own = {**ours.backbone.state_dict(), **ours.head.state_dict()}
    for key, value in theirs.state_dict().items():
        assert torch.equal(own[key.replace("backbone.body.", "net.").removeprefix("backbone.")], value), key
    with pytest.raises(InputError, match=r"head_version is 1, but the weights Faster\S+ were trained with 2; omit it"):
        zoo.build("resnet50", task="detection", weights=V2, head_version=1)


def test_full_names_of_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: theirs.state_dict())
    ours = zoo.build("resnet50", task="detection", weights="FasterRCNN_ResNet50_FPN_Weights.COCO_V1")
    assert (ours.config.norm_eps, ours.config.options["head_version"]) == (0.0, 1)
    with pytest.raises(UnknownNameError, match=r"These are weights of torchvision's retinanet_resnet50_fpn\."):
        zoo.build("resnet50", task="detection", weights="RetinaNet_ResNet50_FPN_Weights.COCO_V1")
    with pytest.raises(UnknownNameError, match=r"These are weights of torchvision's resnet101\."):
        zoo.build("resnet50", weights="ResNet101_Weights.IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("retinanet_resnet50_fpn", {}, r"a RetinaNet of torchvision \(head\.classification_head\.cls_logits\.weight\)"),
        ("retinanet_resnet50_fpn_v2", {}, "a RetinaNet of torchvision"),
        ("fcos_resnet50_fpn", {}, "an FCOS detector of torchvision"),
        ("maskrcnn_resnet50_fpn", {}, r"a Mask R-CNN of torchvision \(roi_heads\.mask_"),
        ("maskrcnn_resnet50_fpn_v2", {}, "a Mask R-CNN of torchvision"),
        ("keypointrcnn_resnet50_fpn", {}, "a Keypoint R-CNN of torchvision"),
        ("ssd300_vgg16", {}, "an SSD or SSDlite detector of torchvision"),
        ("ssdlite320_mobilenet_v3_large", {}, "an SSD or SSDlite detector of torchvision"),
        ("fasterrcnn_mobilenet_v3_large_fpn", {}, "a Faster R-CNN of torchvision on MobileNetV3"),
        (
            "fasterrcnn_resnet50_fpn",
            {"rpn_anchor_generator": AnchorGenerator(SIZES, ((0.25, 0.5, 1.0, 2.0, 4.0),) * 5)},
            r"a Faster R-CNN with 5 anchors per location \(rpn\.head\.cls_logits\.weight\)",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_other_detectors_are_named(name: str, options: dict[str, Any], what: str, prefix: str) -> None:
    with pytest.raises(WeightsError, match=rf"weights w\.pth: .*he file contains {what}"):
        convert({f"{prefix}{key}": value for key, value in state_of(name, **options).items()}, "resnet50", "w.pth")


def test_parts_that_are_missing_are_named() -> None:
    state = state_of("fasterrcnn_resnet50_fpn")
    for lost, what in {
        "backbone.fpn.": r"a Faster R-CNN without a feature pyramid \(no key backbone\.fpn",
        "rpn.head.cls_logits.": r"no rpn\.head\.cls_logits\.weight",
        "roi_heads.box_head.": r"a Faster R-CNN with another box head \(none of the keys roi_heads\.box_head\.fc6\.weight",
        "roi_heads.": r"a detector without the key roi_heads\.box_predictor\.cls_score\.weight",
    }.items():
        with pytest.raises(WeightsError, match=what):
            convert({key: value for key, value in state.items() if not key.startswith(lost)}, "resnet50", "w.pth")


def test_a_detector_of_another_depth() -> None:
    """Torchvision's own function builds Faster R-CNN on any of its ResNets."""
    with torch.device("meta"):
        model = detection.FasterRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes=4)
    weights = convert(model.state_dict(), "resnet18", "w.pth")
    assert (weights.num_classes, weights.options["head_version"]) == (3, 1)


def test_version_2_trains_and_is_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = zoo.build("test_resnet", task="detection", classes=["a"], image_size=64, head_version=2).train()
    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 64)]
    targets = [{"boxes": torch.tensor([[10.0, 10.0, 40.0, 40.0]]), "labels": torch.tensor([0])}] * 2
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert [name for name, parameter in model.head.named_parameters() if parameter.grad is None] == []
    randomise(model)
    zoo.save(model, tmp_path / "model")
    again = zoo.load(tmp_path / "model", score_threshold=0.0)
    assert isinstance(model.head, FasterRCNNHead)
    model.head.roi_heads.score_thresh = 0.0
    with torch.no_grad():
        for got, wanted in zip(again(images), model(images), strict=True):
            assert torch.equal(got["boxes"], wanted["boxes"])
            assert torch.equal(got["scores"], wanted["scores"])
            assert len(got["boxes"]) > 0
    with pytest.raises(InputError, match="head_version is 3; expected 1 or 2"):
        zoo.build("test_resnet", task="detection", classes=["a"], head_version=3)
