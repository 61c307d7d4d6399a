"""torchvision's Faster R-CNN, saved by torchvision in its layout, returns the same detections through the zoo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models import detection
from torchvision.models.detection import FasterRCNN

import zoo
from tests.foreign import randomise
from zoo.images import decoding


def torchvision_detector(builder: str) -> FasterRCNN:
    torch.manual_seed(2)
    create = getattr(detection, builder)
    model: FasterRCNN = create(weights=None, weights_backbone=None, box_score_thresh=0.0, min_size=320, max_size=480)
    randomise(model)
    predictor = model.roi_heads.box_predictor
    with torch.no_grad():
        for name, module in model.backbone.named_modules():
            if name.endswith("bn3"):  # scale of each residual branch: otherwise activations double from block to block
                module.weight *= 0.2
        # untrained, all boxes and classes are about equally likely: spread the scores, so that their order doesn't depend on rounding
        for layer, spread in {model.rpn.head.cls_logits: 0.05, model.rpn.head.bbox_pred: 0.05, predictor.cls_score: 0.5}.items():
            layer.weight.normal_(0, spread)
        predictor.bbox_pred.weight.normal_(0, 0.02)
    return model.eval()


@pytest.fixture
def photo(shared_data: Path) -> NDArray[np.uint8]:
    return decoding.read(sorted((shared_data / "coco-mini").rglob("*.jpg"))[0])


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
def test_boxes_labels_and_scores_are_torchvisions(builder: str, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    theirs = torchvision_detector(builder)
    weights = tmp_path / "fasterrcnn.pth"
    torch.save(theirs.state_dict(), weights)
    ours = zoo.build("resnet50", task="detection", weights=weights, score_threshold=0.0, image_size=320, max_image_size=480)
    pixels = torch.from_numpy(photo).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        (expected,) = theirs([pixels])
        (answer,) = ours([pixels])
    assert len(expected["boxes"]) == 100
    torch.testing.assert_close(answer["scores"], expected["scores"], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(answer["boxes"], expected["boxes"], rtol=1e-3, atol=0.05)
    # COCO's ids start at 1, with 0 for the background; here labels start at 0
    assert torch.equal(answer["labels"] + 1, expected["labels"])
    assert len(ours.classes) == 90
    assert (ours.classes[0], ours.classes[89]) == ("person", "toothbrush")
