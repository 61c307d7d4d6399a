"""Training detectors: frozen batch norm, presets, batches of tall and wide images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo.data.dataset import Sample
from zoo.models.model import Model
from zoo.task.contract import get_task
from zoo.tasks.detection.training.recipe import DetectionRecipe

pytestmark = pytest.mark.usefixtures("one_thread")


def small(**options: Any) -> Model:
    torch.manual_seed(0)
    return zoo.build("resnet20", task="detection", classes=["spot"], image_size=48, fpn_channels=8, representation_size=8, **options)


def spots(*sizes_hw: tuple[int, int]) -> list[Sample]:
    """Return noisy images with one bright rectangle each."""
    samples = []
    for number, size_hw in enumerate(sizes_hw):
        image = np.random.default_rng(number).integers(0, 60, (*size_hw, 3)).astype(np.uint8)
        image[10:30, 5:25] += 150
        samples.append(Sample(image, {"boxes": [[5, 10, 25, 30]], "labels": [0]}, f"{number}"))
    return samples


def norms(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the parameters and statistics of batch norm."""
    return {
        f"{name}.{part}": value.clone()
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part, value in module.state_dict().items()
    }


@pytest.mark.parametrize(("frozen", "moves"), [("norm", False), ("none", True), ("stages=1", True), ("stages=1,norm", False)])
def test_frozen_batch_norm_stays_while_the_trunk_learns(frozen: str, moves: bool, tmp_path: Path) -> None:
    model = small()
    before, kernel = norms(model.backbone), model.backbone.state_dict()["layer3.2.conv2.weight"].clone()
    recipe = DetectionRecipe(epochs=1, batch_size=2, workers=0, freeze=frozen)
    zoo.train(model, spots(*[(48, 60)] * 4), recipe=recipe, out=tmp_path / "run", device="cpu")
    after = norms(model.backbone)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before) is moves
    assert not torch.equal(model.backbone.state_dict()["layer3.2.conv2.weight"], kernel)


def test_every_ingredient_together_trains(tmp_path: Path) -> None:
    model = small()
    recipe = DetectionRecipe(
        epochs=2, batch_size=2, workers=0, flip_vertical=0.5, scale_min=0.7, scale_max=1.3, jitter_min=0.5, jitter_max=2.0
    )
    run = zoo.train(model, spots((48, 60), (60, 48), (50, 50), (48, 90), (90, 48)), recipe=recipe, out=tmp_path / "run", device="cpu")
    assert len(run.history) == 2
    assert all(np.isfinite(entry["loss"]) for entry in run.history)


def test_standard_is_the_default_and_the_presets_differ_in_effort() -> None:
    presets = get_task("detection").data.recipes
    assert presets["standard"] == DetectionRecipe()
    steps = [presets[name].steps for name in ("quick", "standard", "thorough")]
    assert steps == sorted(set(steps))
    assert all(isinstance(preset, DetectionRecipe) and preset.copy_paste == 0 for preset in presets.values())  # most data has no masks
