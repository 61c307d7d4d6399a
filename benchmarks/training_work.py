"""What `zoo.benchmarks.training_step` trains: networks that torchvision has too, and drawn pictures of their sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torchvision.models import resnet18, resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from zoo.data.dataset import Sample
from zoo.task.recipe import Recipe
from zoo.tasks.classification.recipe import ClassificationRecipe
from zoo.tasks.detection.training.recipe import DetectionRecipe

CLASSES = 10
_SGD: dict[str, Any] = {"optimizer": "momentum", "lr": 0.002, "weight_decay": 0.0, "scheduler": "constant", "warmup": 0.0, "workers": 0}


@dataclass(frozen=True)
class Work:
    """One line of the table.

    Attributes:
        name: what is trained.
        backbone: the trunk.
        task: the zoo's task.
        theirs: builds torchvision's network with fresh weights.
        samples: the batch.
        options: of the zoo's model, so that it is the same network.
        recipe: the zoo's settings: no augmentation, SGD.
        bound: the ratio that is promised, on a processor with bf16 instructions.
    """

    name: str
    backbone: str
    task: str
    theirs: Callable[[], nn.Module]
    samples: Callable[[], list[Sample]]
    options: dict[str, Any]
    recipe: Recipe
    bound: float


def pictures(count: int, height: int, width: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Draw smooth noise: [height, width, 3] each."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, height // 16, width // 16, 3), dtype=np.uint8)
    return [np.kron(picture, np.ones((16, 16, 1), np.uint8)) for picture in small]


def labelled(count: int, side: int) -> list[Sample]:
    """Return pictures with a class each."""
    return [Sample(picture, index % CLASSES, f"{index}") for index, picture in enumerate(pictures(count, side, side))]


def boxed(count: int, height: int, width: int, boxes: int = 12) -> list[Sample]:
    """Return pictures with boxes of all sizes."""
    generator = np.random.default_rng(1)
    samples = []
    for index, picture in enumerate(pictures(count, height, width)):
        corner = generator.uniform(0, (width * 0.7, height * 0.7), (boxes, 2))
        size = generator.uniform(20, min(height, width) * 0.3, (boxes, 2))
        places = np.concatenate([corner, corner + size], 1).astype(np.float32)
        target = {
            "boxes": places,
            "labels": generator.integers(0, CLASSES, boxes),
        }
        samples.append(Sample(picture, target, f"{index}"))
    return samples


def works(batch: int, side: int, boxes_batch: int, height: int, width: int) -> list[Work]:
    """Return what is measured.

    Args:
        batch: pictures of a classifier's step.
        side: of them, in pixels.
        boxes_batch: pictures of a detector's step.
        height: of them, in pixels.
        width: of them.
    """
    plain = ClassificationRecipe(batch_size=batch, crop_scale=1.0, flip=0.0, **_SGD)
    detector = DetectionRecipe(batch_size=boxes_batch, flip=0.0, light=0.0, clip_grad=0.0, **_SGD)
    full = {"image_size": height, "max_image_size": width, "fpn_channels": 256, "representation_size": 1024}
    full |= {"pre_nms_proposals": 1000, "proposals": 1000, "roi_batch": 512}

    def faster_rcnn() -> nn.Module:
        sizes = {"min_size": height, "max_size": width}
        network: nn.Module = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES + 1, **sizes)
        return network

    def classifier(network: Callable[..., nn.Module]) -> Callable[[], nn.Module]:
        return lambda: network(num_classes=CLASSES)

    name = f"{side}×{side}, batch {batch}"
    return [
        Work(f"ResNet-50 {name}", "resnet50", "classification", classifier(resnet50), lambda: labelled(batch, side), {}, plain, 3.0),
        Work(f"ResNet-18 {name}", "resnet18", "classification", classifier(resnet18), lambda: labelled(batch, side), {}, plain, 3.0),
        Work(
            f"Faster R-CNN ResNet-50 FPN {height}×{width}, batch {boxes_batch}", "resnet50", "detection", faster_rcnn,
            lambda: boxed(boxes_batch, height, width), full, detector, 2.2,
        ),
    ]  # fmt: skip
