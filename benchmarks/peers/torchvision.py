"""torchvision's Faster R-CNN, and a typical script that classifies a folder of images, both in eager float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops import box_iou

from zoo.benchmarks.peers.race import Difference, Work
from zoo.benchmarks.peers.timm import settle_norms
from zoo.images.preprocess import Preprocess

CLASSES = 90
_SAME = 0.8  # minimum IoU of equal boxes
# standard deviation of the class logits, and offset of the background: a few dozen boxes per photo exceed the threshold of 0.05
_SPREAD, _BACKGROUND = 0.5, 2.0
_WORKERS = 2

Boxes = Mapping[str, Tensor]


def random_detector(photo: Tensor) -> nn.Module:
    """Create a detector with random weights that detects a few dozen boxes in a photo, [3, H, W] float32, 0–1.

    A newly initialised detector detects nothing. There would be nothing to post-process or to compare.
    """
    torch.manual_seed(0)
    detector: Any = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    batch, _ = detector.transform([photo])
    settle_norms(detector.backbone.body, batch.tensors)
    detector.eval().requires_grad_(False)
    pooled: list[Tensor] = []
    hook = detector.roi_heads.box_head.register_forward_hook(lambda module, inputs, rows: pooled.append(rows))
    with torch.no_grad():
        objectness = detector.rpn.head(list(detector.backbone(batch.tensors).values()))[0]
        detector.rpn.head.cls_logits.weight /= torch.cat([each.flatten() for each in objectness]).std()
        detector([photo])
        layer, rows = detector.roi_heads.box_predictor.cls_score, pooled[0]
        layer.weight *= _SPREAD / layer(rows).std(0).mean()
        layer.bias.copy_(-layer.weight @ rows.mean(0))
        layer.bias[0] += _BACKGROUND
    hook.remove()
    return detector  # type: ignore[no-any-return]


def detect(detector: nn.Module, photo: Tensor) -> Work:
    """Return a function that detects objects in a photo, [3, H, W] float32, 0–1. Class labels start at 0."""

    def work() -> Boxes:
        with torch.inference_mode():
            (found,) = detector([photo])
        return {**found, "labels": found["labels"] - 1}

    return work


def compare_boxes(theirs: Boxes, ours: Boxes) -> Difference:
    """Return the fraction of all boxes, of both libraries, for which the other library has an equal box."""
    counts = [len(theirs["boxes"]), len(ours["boxes"])]
    if 0 in counts:
        return Difference(None, 1.0 if counts == [0, 0] else 0.0)
    same = (box_iou(theirs["boxes"], ours["boxes"]) >= _SAME) & (theirs["labels"][:, None] == ours["labels"][None])
    return Difference(None, int(same.any(1).sum() + same.any(0).sum()) / sum(counts))


def classify_folder(network: nn.Module, root: Path, preprocess: Preprocess, batch: int) -> Work:
    """Return a function that classifies a folder of images with a typical script and the zoo's preprocessing.

    `root` contains one subfolder per class, as `ImageFolder` requires.
    """
    transform = transforms.Compose(
        [
            transforms.Resize(min(preprocess.resized_hw(1000, 1000)), transforms.InterpolationMode(preprocess.interpolation)),
            transforms.CenterCrop(preprocess.size_hw),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )

    def work() -> list[int]:
        loader = DataLoader(ImageFolder(str(root), transform), batch_size=batch, num_workers=_WORKERS)
        classes: list[int] = []
        with torch.inference_mode():
            for pixels, _ in loader:
                classes += network(pixels).argmax(1).tolist()
        return classes

    return work
