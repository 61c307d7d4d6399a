"""Networks and generated images for `zoo.benchmarks.training_step`; all networks exist in torchvision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
    """One row of the table.

    Attributes:
        name: name of the network and its batch.
        backbone: name of the zoo's backbone.
        task: name of the zoo's task.
        theirs: function that builds torchvision's network with random weights.
        samples: function that generates the batch.
        options: options that make the zoo's model the same network.
        recipe: the zoo's recipe: SGD without augmentation.
        bound: target ratio on a processor with bf16 instructions.
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
    """Return images of random blocks of 16×16 pixels, [height, width, 3] each."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, height // 16, width // 16, 3), dtype=np.uint8)
    return [np.kron(picture, np.ones((16, 16, 1), np.uint8)) for picture in small]


def labelled(count: int, side: int) -> list[Sample]:
    """Return samples with one class per image."""
    return [Sample(picture, index % CLASSES, f"{index}") for index, picture in enumerate(pictures(count, side, side))]


def boxed(count: int, height: int, width: int, boxes: int = 12) -> list[Sample]:
    """Return samples with boxes of various sizes."""
    generator = np.random.default_rng(1)
    samples = []
    for index, picture in enumerate(pictures(count, height, width)):
        corner = generator.uniform(0, (width * 0.7, height * 0.7), (boxes, 2))
        size = generator.uniform(20, min(height, width) * 0.3, (boxes, 2))
        places = np.concatenate([corner, corner + size], 1).astype(np.float32)
        target = {"boxes": places, "labels": generator.integers(0, CLASSES, boxes)}
        samples.append(Sample(picture, target, f"{index}"))
    return samples


def works(batch: int, side: int, boxes_batch: int, height: int, width: int) -> list[Work]:
    """Return the rows of the table.

    Args:
        batch: images per batch of a classifier.
        side: height and width of a classifier's images in pixels.
        boxes_batch: images per batch of a detector.
        height: height of a detector's images in pixels.
        width: width of a detector's images in pixels.
    """
    plain = ClassificationRecipe(batch_size=batch, crop_scale=1.0, flip=0.0, **_SGD)
    detector = DetectionRecipe(batch_size=boxes_batch, flip=0.0, light=0.0, clip_grad=0.0, **_SGD)
    full = {"image_size": height, "max_image_size": width, "fpn_channels": 256, "representation_size": 1024}
    full |= {"pre_nms_proposals": 1000, "proposals": 1000, "roi_batch": 512}

    def classifier(name: str, network: Callable[..., nn.Module]) -> Work:
        title = f"{name} {side}×{side}, batch {batch}"
        theirs, samples = partial(network, num_classes=CLASSES), partial(labelled, batch, side)
        return Work(title, network.__name__, "classification", theirs, samples, {}, plain, 3.0)

    title = f"Faster R-CNN ResNet-50 FPN {height}×{width}, batch {boxes_batch}"
    sizes = {"num_classes": CLASSES + 1, "min_size": height, "max_size": width}
    faster_rcnn = partial(fasterrcnn_resnet50_fpn, weights=None, weights_backbone=None, **sizes)
    return [
        classifier("ResNet-50", resnet50),
        classifier("ResNet-18", resnet18),
        Work(title, "resnet50", "detection", faster_rcnn, partial(boxed, boxes_batch, height, width), full, detector, 2.2),
    ]
