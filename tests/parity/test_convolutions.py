"""Convolutions as matrix products against torch's: values, gradients, and which convolutions are computed this way."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import zoo
from zoo.data.dataset import Sample
from zoo.kernels import convolutions
from zoo.kernels.overrides import training_kernels
from zoo.tasks.classification.options import ClassificationRecipe

CPU = torch.device("cpu")


def computed(convolution: nn.Module, maps: Tensor, context: Any, bf16: bool = True) -> list[Tensor]:
    """Return the output, and the gradients of the maps and of the parameters for a random direction."""
    maps = maps.detach().requires_grad_()
    convolution.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), context:
        answer = convolution(maps)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(answer.shape, generator=generator).to(answer.dtype).to(memory_format=torch.channels_last)
    answer.backward(direction)
    assert maps.grad is not None
    return [answer.detach(), maps.grad, *(parameter.grad for parameter in convolution.parameters() if parameter.grad is not None)]


def node(convolution: nn.Module, maps: Tensor, precision: str = "bf16", device: str = "cpu") -> str:
    """Return the name of a convolution's node in autograd's graph."""
    with torch.autocast("cpu", torch.bfloat16), training_kernels(nn.Identity(), precision, torch.device(device)):
        return type(convolution(maps).grad_fn).__name__


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("channels", "answers", "size", "settings"),
    [
        (64, 256, (40, 33), {"kernel_size": 1}),
        (64, 512, (41, 32), {"kernel_size": 1, "stride": 2}),
        (256, 256, (30, 31), {"kernel_size": 1, "stride": (1, 3)}),
        (512, 512, (7, 9), {"kernel_size": 3, "padding": 1}),
        (256, 512, (15, 8), {"kernel_size": 3, "padding": 1, "stride": 2}),
        (512, 512, (9, 6), {"kernel_size": (2, 4), "padding": (0, 2), "stride": (2, 1)}),
    ],
)
def test_values_and_gradients_are_those_of_a_convolution(
    channels: int, answers: int, size: tuple[int, int], settings: dict[str, Any], bias: bool
) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, channels, *size).to(memory_format=torch.channels_last)
    convolution = nn.Conv2d(channels, answers, bias=bias, **settings).to(memory_format=torch.channels_last)
    assert node(convolution, maps) in ("_PointwiseBackward", "_WideBackward")
    expected = computed(convolution, maps, contextlib.nullcontext(), bf16=False)
    plain = computed(convolution, maps, contextlib.nullcontext())
    found = computed(convolution, maps, training_kernels(nn.Identity(), "bf16", CPU))
    assert len(found) == len(plain) == 3 + bias
    for ours, theirs, exact in zip(found, plain, expected, strict=True):
        assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
        assert float((ours.float() - exact).norm() / exact.norm()) < 0.005  # bf16 has 8 bits: rounding alone causes 0.003
        assert float((ours.float() - theirs.float()).norm() / exact.norm()) < 0.004


@pytest.mark.parametrize(("kernel", "size"), [(1, 20), (3, 7)])
@pytest.mark.parametrize(("maps_learn", "kernel_learns"), [(True, False), (False, True)])
def test_what_is_frozen_gets_no_gradient_and_the_other_its_own(kernel: int, size: int, maps_learn: bool, kernel_learns: bool) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 512, size, size).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(512, 512, kernel, padding=kernel // 2, bias=False).to(memory_format=torch.channels_last)
    layer.requires_grad_(kernel_learns)
    gradients = []
    for context in (contextlib.nullcontext(), training_kernels(nn.Identity(), "bf16", CPU)):
        given = maps.clone().requires_grad_(maps_learn)
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), context:
            layer(given).float().square().sum().backward()
        assert (given.grad is not None, layer.weight.grad is not None) == (maps_learn, kernel_learns)
        (found,) = [each.clone() for each in (given.grad, layer.weight.grad) if each is not None]
        gradients.append(found)
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 0.004
    assert float(gradients[0].norm()) > 0


def test_a_frozen_wide_kernel_and_one_without_gradient_stay_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randn(2, 512, 7, 7).to(memory_format=torch.channels_last).requires_grad_()
    wide = nn.Conv2d(512, 512, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    assert node(wide, maps) == "_WideBackward"
    called = []
    monkeypatch.setattr(convolutions._Wide, "apply", lambda *arguments: called.append(arguments))
    with torch.no_grad():
        node(wide, maps)
    assert node(wide.requires_grad_(False), maps) == "ConvolutionBackward0"
    assert called == []


def test_without_autocast_torch_computes() -> None:
    maps = torch.randn(2, 512, 40, 40).to(memory_format=torch.channels_last)
    for layer in (nn.Conv2d(512, 512, 1), nn.Conv2d(512, 512, 3, stride=7)):
        layer.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16), training_kernels(nn.Identity(), "bf16", CPU), torch.autocast("cpu", enabled=False):
            found = layer(maps)
        assert found.dtype == torch.float32
        assert torch.equal(found, layer(maps))


def test_stride_is_said_in_any_way_that_torch_takes() -> None:
    maps, weight = torch.randn(2, 512, 40, 40).to(memory_format=torch.channels_last), torch.randn(512, 512, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = functional.conv2d(maps, weight, None, 2)
        with training_kernels(nn.Identity(), "bf16", CPU):
            found = [functional.conv2d(maps, weight, None, stride) for stride in (2, (2,), (2, 2), [2, 2])]
            named = functional.conv2d(input=maps, weight=weight, stride=2)
    for each in (*found, named):
        assert float((each.float() - wanted.float()).norm() / wanted.float().norm()) < 0.004


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize(("kernel", "size"), [(1, 20), (3, 7)])
def test_what_is_computed_again_for_backward_may_be_so_by_torch(kernel: int, size: int, reentrant: bool) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 512, size, size).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(512, 512, kernel, padding=kernel // 2).to(memory_format=torch.channels_last)
    wanted = computed(layer, maps, training_kernels(nn.Identity(), "bf16", CPU))
    again = nn.Module()
    again.layer = layer
    again.forward = lambda given: checkpoint(layer, given, use_reentrant=reentrant)
    for ours, plain in zip(computed(again, maps, training_kernels(nn.Identity(), "bf16", CPU)), wanted, strict=True):
        assert float((ours.float() - plain.float()).norm() / plain.float().norm()) < 0.004


@pytest.mark.parametrize(
    ("settings", "size", "layout"),
    [
        ({"kernel_size": 1}, (3, 3), torch.channels_last),  # too small
        ({"kernel_size": 1, "padding": 1}, (40, 40), torch.channels_last),
        ({"kernel_size": 1, "groups": 2}, (64, 64), torch.channels_last),
        ({"kernel_size": 1}, (40, 40), torch.contiguous_format),
        ({"kernel_size": 3, "padding": 2, "dilation": 2}, (7, 7), torch.channels_last),
        ({"kernel_size": 3, "padding": "same"}, (7, 7), torch.channels_last),
        ({"kernel_size": 3, "padding": 1}, (48, 48), torch.channels_last),  # many positions
        ({"kernel_size": 3, "padding": 1, "groups": 2}, (7, 7), torch.channels_last),
    ],
)
def test_others_stay_with_torch(settings: dict[str, Any], size: tuple[int, int], layout: torch.memory_format) -> None:
    maps = torch.randn(2, 512, *size).to(memory_format=layout)
    assert node(nn.Conv2d(512, 512, **settings).to(memory_format=torch.channels_last), maps) == "ConvolutionBackward0"


@pytest.mark.parametrize(("precision", "device"), [("fp32", "cpu"), ("bf16", "cuda"), ("fp16", "cuda")])
def test_other_precisions_and_devices_stay_with_torch(precision: str, device: str) -> None:
    maps = torch.randn(2, 512, 40, 40).to(memory_format=torch.channels_last)
    assert node(nn.Conv2d(512, 512, 1).to(memory_format=torch.channels_last), maps, precision, device) == "ConvolutionBackward0"


def test_without_pictures() -> None:
    maps = torch.randn(0, 512, 7, 7).to(memory_format=torch.channels_last)
    assert node(nn.Conv2d(512, 512, 3, padding=1).to(memory_format=torch.channels_last), maps) == "ConvolutionBackward0"


def test_training_in_bf16_computes_so(tmp_path: Path) -> None:
    """All steps of a run on the CPU use the products, including the wide kernels of ResNet-18's last stage."""
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8), index % 2, str(index)) for index in range(4)]
    kinds = []
    model = zoo.build("resnet18", "classification", num_classes=2, image_size=64)

    def note(module: nn.Module, arguments: Any, answer: Tensor) -> None:
        if answer.grad_fn is not None:
            kinds.append(type(answer.grad_fn).__name__)

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    recipe = ClassificationRecipe(epochs=2, batch_size=2, precision="bf16")
    zoo.train(model, samples, recipe=recipe, out=tmp_path / "run", device="cpu")
    assert kinds.count("_WideBackward") == 2 * 2 * 4  # epochs × steps × kernels of the last stage
    assert kinds.count("ConvolutionBackward0") == 2 * 2 * 16
