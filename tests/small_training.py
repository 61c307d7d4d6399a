"""Training runs of a few seconds with one or several heads: a dozen coloured images, a tiny backbone, two epochs."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.pictures import COLOURS, picture
from zoo.data.dataset import Dataset, Record
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.system.progress import Progress
from zoo.system.signals import Interrupted
from zoo.task.contract import recipe
from zoo.task.joint import JointRecipe
from zoo.tasks.classification.options import ClassificationRecipe
from zoo.training.train import train

RECIPE = ClassificationRecipe(epochs=2, batch_size=4, lr=1e-3, precision="fp32", workers=0, crop_scale=0.6)


def coloured(count: int = 12) -> Dataset:
    names = sorted(COLOURS)
    records = [Record(f"s{index:02d}", picture(COLOURS[names[index % 3]], index, (16, 16)), index % 3) for index in range(count)]
    return Dataset("coloured", tuple(records), tuple(names))


def fresh(seed: int = 5, **options: Any) -> Model:
    torch.manual_seed(seed)
    return build("test_resnet", **{"classes": sorted(COLOURS), "image_size": 32, **options})


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def poisoned_loss(model: Model) -> None:
    """Make the loss of every batch with a sample of class 3 infinite."""
    original = model.head.loss

    def loss(features: Any, batch: Any, targets: Any) -> dict[str, Tensor]:
        losses = original(features, batch, targets)
        return {name: value * float("inf") if (targets == 3).any() else value for name, value in losses.items()}

    model.head.loss = loss  # type: ignore[method-assign]


class StopAt(Progress):
    """Sends this process a signal during the n-th batch, like a user who types Ctrl-C or a system that sends SIGTERM."""

    def __init__(self, batch: int, number: int = signal.SIGINT) -> None:
        super().__init__(enabled=False)
        self.left, self.number = batch, number

    def advance(self, note: str = "", steps: float = 1) -> None:
        if note:  # the training bar, not the validation bar
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


# -- several heads -----------------------------------------------------------------------------------------------------------

NAMES = sorted(COLOURS)
KINDS = {"parts": "detection", "kinds": "classification"}
PAIR = {"one": "classification", "two": "classification"}


def boxed(count: int = 6, size: int = 48) -> Dataset:
    """Images with one box whose label is the index of the image modulo 3."""
    records = []
    for index in range(count):
        target = {"boxes": np.array([[4, 8, 20 + index, 40]], np.float32), "labels": np.array([index % 3])}
        records.append(Record(f"s{index:02d}", picture(COLOURS[NAMES[index % 3]], index, (size, size)), target))
    return Dataset("boxed", tuple(records), tuple(NAMES))


def labelled(data: Dataset) -> Dataset:
    """The same images with the label of the box as the class of the image."""
    records = tuple(replace(record, target=int(record.target["labels"][0])) for record in data.records)
    return Dataset("labelled", records, tuple(NAMES))


def detector_and_classifier(seed: int = 5, **options: Any) -> Model:
    torch.manual_seed(seed)
    sizes = {"image_size": {"parts": 48}, "max_image_size": {"parts": 48}, "fpn_channels": 16}
    return build("resnet20", KINDS, classes=dict.fromkeys(KINDS, NAMES), **{**sizes, **options})


def two_classifiers(seed: int = 5, **options: Any) -> Model:
    torch.manual_seed(seed)
    return build("test_resnet", PAIR, classes=dict.fromkeys(PAIR, NAMES), **{"image_size": 32, **options})


def joint_recipe(model: Model, **settings: Any) -> JointRecipe:
    usual = {"epochs": 2, "batch_size": 4, "precision": "fp32", "workers": 0, "lr": 1e-3, "clip_grad": 0.0}
    found = recipe(model.task, **{**usual, **settings})
    assert isinstance(found, JointRecipe)
    return found


def begun(out: Path) -> Path:
    """Start a run, interrupt it after its first batch, and return its folder, which has a checkpoint."""
    with pytest.raises(Interrupted):
        train(fresh(), coloured(), None, RECIPE, out, progress=StopAt(1))
    return out
