"""Parity of the head with torchvision's Faster R-CNN: with equal weights and features, losses and detections are equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from tests.foreign import randomise
from zoo.backbones import Level
from zoo.images import decoding
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.weights.layouts.torchvision_detection import split_keys
from zoo.task.head import HeadSpec
from zoo.tasks.detection.model.head import FasterRCNNHead, _Maps
from zoo.tasks.detection.options import HEADS, DetectionOptions

LEVELS = tuple(Level(f"c{index}", 256 * 2 ** (index - 2), 2**index) for index in range(2, 6))
SIZE, LONGEST = 320, 480
FULL: dict[str, Any] = {name: full for name, (full, _) in HEADS.items()}
PREPROCESS = Preprocess("fit", (SIZE, LONGEST), antialias=False)


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[Tensor]:
    files = sorted((shared_data / "coco-mini").rglob("*.jpg"))[:2]
    return [torch.from_numpy(decoding.read(file)).permute(2, 0, 1).float() / 255 for file in files]


@pytest.fixture(scope="module")
def theirs(pictures: list[Tensor]) -> FasterRCNN:
    torch.manual_seed(0)
    model: FasterRCNN = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=6, box_score_thresh=0.05, min_size=SIZE, max_size=LONGEST
    )
    randomise(model)
    with torch.no_grad():
        # untrained, the magnitude of the maps ranges from 0.5 to 200 and all classes are about equally likely; equalise the maps and
        # spread the scores, so that the order of the detections doesn't depend on rounding
        for block, size in zip(model.backbone.fpn.inner_blocks, (0.5, 4, 66, 225), strict=True):
            block[0].weight.div_(size)
        predictor = model.roi_heads.box_predictor
        predictor.cls_score.weight.normal_(0, 0.3)
        predictor.bbox_pred.weight.normal_(0, 0.1)
        pooled: list[Tensor] = []
        hook = model.roi_heads.box_head.register_forward_hook(lambda module, given, found: pooled.append(found))
        model.eval()(pictures)
        hook.remove()
        predictor.cls_score.bias.copy_(-predictor.cls_score.weight @ pooled[0].mean(0))  # otherwise one class would get every box
    return model.eval()


@pytest.fixture(scope="module")
def ours(theirs: FasterRCNN) -> FasterRCNNHead:
    options = DetectionOptions(image_size=SIZE, max_image_size=LONGEST, **FULL)
    head = FasterRCNNHead(HeadSpec(LEVELS, 5, options, PREPROCESS))
    trunk, state = split_keys(theirs.state_dict())
    head.load_state_dict(state)
    assert set(trunk) == set(theirs.backbone.body.state_dict())
    return head.eval()


def features_of(theirs: FasterRCNN, batch: ImageBatch) -> dict[str, Tensor]:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PREPROCESS.mean, PREPROCESS.std))
    maps = theirs.backbone.body((batch.pixels - mean) / std)
    return {f"c{index + 2}": level for index, level in enumerate(maps.values())}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_proposals_are_those_of_all_anchors(training: bool, memory: torch.memory_format) -> None:
    """Torchvision decodes every anchor before it selects proposals; the results are bit-identical."""
    torch.manual_seed(0)
    levels = tuple(Level(f"c{index}", 8, 2**index) for index in range(2, 5))
    options = replace(DetectionOptions(image_size=64, max_image_size=128, **FULL), fpn_channels=8, pre_nms_proposals=150, proposals=40)
    head = FasterRCNNHead(HeadSpec(levels, 5, options, PREPROCESS)).train(training)
    sizes = ((64, 90), (70, 60))
    batch = ImageBatch(torch.rand(2, 3, 96, 96), sizes, sizes)
    tensors = head.tensors({level.name: torch.randn(2, 8, 96 // level.stride, 96 // level.stride) for level in levels})
    tensors = tuple(
        (10 * tensor).detach().to(memory_format=memory) for tensor in tensors
    )  # spread the scores, so that the proposals differ
    found = head._propose(_Maps.of(tensors), batch)
    count, rpn = len(tensors) // 3, head.rpn
    anchors = rpn.anchor_generator(ImageList(batch.pixels, list(sizes)), list(tensors[:count]))
    per_level = [level[0].numel() for level in tensors[count : 2 * count]]
    objectness, deltas = concat_box_prediction_layers(list(tensors[count : 2 * count]), list(tensors[2 * count :]))
    boxes = rpn.box_coder.decode(deltas, anchors).view(2, -1, 4)
    expected, _ = rpn.filter_proposals(boxes, objectness, list(sizes), per_level)
    assert max(per_level) > (300 if training else 150)
    assert all(len(each) > 20 for each in expected)
    assert all(torch.equal(got, wanted) for got, wanted in zip(found, expected, strict=True))
    assert not any(each.requires_grad for each in found)


def test_detections_are_torchvisions(theirs: FasterRCNN, ours: FasterRCNNHead, pictures: list[Tensor]) -> None:
    """Images of two sizes in one batch, so that padding and scaling matter."""
    batch = PREPROCESS.batch(pictures)
    with torch.inference_mode():
        expected = theirs(pictures)
        answers = ours(features_of(theirs, batch), batch)
    assert pictures[0].shape != pictures[1].shape
    assert [len(answer["boxes"]) for answer in expected] == [100, 100]
    for answer, right in zip(answers, expected, strict=True):
        torch.testing.assert_close(answer["boxes"], right["boxes"], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(answer["scores"], right["scores"], rtol=1e-4, atol=1e-5)
        assert torch.equal(answer["labels"] + 1, right["labels"])
        assert len(set(right["labels"].tolist())) > 1


def test_losses_are_torchvisions(theirs: FasterRCNN, ours: FasterRCNNHead, pictures: list[Tensor]) -> None:
    boxes = [torch.tensor([[30.0, 40.0, 200.0, 300.0], [100.0, 100.0, 180.0, 160.0]]), torch.zeros(0, 4)]
    labels = [torch.tensor([0, 4]), torch.zeros(0, dtype=torch.int64)]
    batch = PREPROCESS.batch(pictures)
    features = {name: level.detach() for name, level in features_of(theirs, batch).items()}
    theirs.rpn.train()
    theirs.roi_heads.train()
    ours.train()
    try:
        scaled, targets = theirs.transform(
            pictures, [{"boxes": box, "labels": label + 1} for box, label in zip(boxes, labels, strict=True)]
        )
        pyramid = theirs.backbone.fpn({str(index): level for index, level in enumerate(features.values())})
        torch.manual_seed(7)  # both sample anchors and proposals for their losses
        proposals, rpn_losses = theirs.rpn(scaled, pyramid, targets)
        _, box_losses = theirs.roi_heads(pyramid, proposals, scaled.image_sizes, targets)
        torch.manual_seed(7)
        losses = ours.loss(features, batch, [{"boxes": box, "labels": label} for box, label in zip(boxes, labels, strict=True)])
    finally:
        theirs.eval()
        ours.eval()
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    for name, value in {**rpn_losses, **box_losses}.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_old_key_names_are_todays(theirs: FasterRCNN) -> None:
    """Until 0.13 the blocks of the FPN and the convolution of the RPN had no inner modules."""
    state = theirs.state_dict()
    old = {_old_name(key): value for key, value in state.items()}
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.inner_blocks.0.weight" in old
    assert old.keys() != state.keys()
    for got, expected in zip(split_keys(old), split_keys(state), strict=True):
        assert got.keys() == expected.keys()
        assert all(np.array_equal(got[key], expected[key]) for key in got)


def _old_name(key: str) -> str:
    if "fpn." in key:
        return key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
    return key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
