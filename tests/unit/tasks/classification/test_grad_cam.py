"""Grad-CAM against the paper's formula, on every kind of backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import zoo
from zoo.task.contract import get_task
from zoo.task.metric import Mistake
from zoo.tasks.classification.gradcam import grad_cam

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("backbone", ["resnet18", "resnet20", "resnetv2_50", "seresnet50"])
@pytest.mark.parametrize("frozen", ["none", "trunk"])
def test_it_is_the_papers_formula(backbone: str, frozen: str) -> None:
    """Equations 1 and 2: channels weighted by their mean gradient, summed, and rectified."""
    torch.manual_seed(0)
    model = zoo.build(backbone, classes=["a", "b", "c"], image_size=64, freeze=frozen).eval()
    batch = model.preprocess.batch([np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)])
    last = model.backbone.stages()[-1][-1]
    kept: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(type(batch)(batch.pixels.float().div(255).requires_grad_(), batch.sizes_hw, batch.original_sizes_hw))
    hook.remove()
    for label in range(3):
        (gradient,) = torch.autograd.grad(logits[0, label], kept[0], retain_graph=True)
        expected = F.relu((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True))
        expected = F.interpolate(expected, (64, 64), mode="bilinear")[0, 0]
        found = grad_cam(model, batch, label)
        assert found.shape == (64, 64)
        scale = float(expected.max().detach())
        np.testing.assert_allclose(found * scale, expected.detach().numpy(), atol=1e-5 * max(scale, 1e-12))
        assert found.max() == pytest.approx(1.0 if scale > 0 else 0.0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_looks_where_the_class_is() -> None:
    """With a last stage that responds to brightness, and a head with equal weights, only bright regions support a class."""
    torch.manual_seed(0)
    model = zoo.build("resnet20", classes=["dark", "bright"], image_size=32).eval()
    last = model.backbone.stages()[-1][-1]
    hook = last.register_forward_hook(lambda module, inputs, output: F.avg_pool2d(seen[0], 4).mean(1, keepdim=True).expand(-1, 64, -1, -1))
    seen: list[torch.Tensor] = []
    first = model.backbone.register_forward_pre_hook(lambda module, inputs: seen.insert(0, inputs[0].relu()))
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.fill_(1.0 / 64)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[8:16, 16:24] = 255
    found = grad_cam(model, model.preprocess.batch([picture]), 1)
    hook.remove()
    first.remove()
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 8 <= row < 16
    assert 16 <= column < 24
    assert found[24:, :8].max() == 0


def test_tasks_without_maps_say_so_by_none() -> None:
    model = zoo.build("resnet18", task="face", image_size=64)
    assert get_task("face").answers.explain(model, model.preprocess.batch(torch.rand(1, 3, 64, 64)), Mistake(("a",), "", 1.0)) == {}
