"""Small networks as one kernel, compared with torch's layers."""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from zoo.tasks.face.detection.networks import PReLUStack

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the kernels need Linux and a C++ compiler (g++)"
)


def pool(side: int, step: int) -> nn.Module:
    return nn.MaxPool2d(side, step, ceil_mode=True)


def drawn(modules: list[Any]) -> list[Any]:
    """Set random PReLU slopes of either sign, one per channel, as in trained networks."""
    generator = torch.Generator().manual_seed(3)
    for module in modules:
        if isinstance(module, nn.PReLU):
            module.weight.data = torch.rand(module.num_parameters, generator=generator) - 0.3
    return modules


STACKS: dict[str, Callable[[], list[Any]]] = {
    "like MTCNN's first": lambda: [
        nn.Conv2d(3, 10, 3), nn.PReLU(10), pool(2, 2), nn.Conv2d(10, 16, 3), nn.PReLU(16), nn.Conv2d(16, 32, 3), nn.PReLU(32),
        nn.Conv2d(32, 5, 1),
    ],
    "like its second": lambda: [
        nn.Conv2d(3, 28, 3), nn.PReLU(28), pool(3, 2), nn.Conv2d(28, 48, 3), nn.PReLU(48), pool(3, 2), nn.Conv2d(48, 64, 2), nn.PReLU(64),
    ],
    "like its third": lambda: [
        nn.Conv2d(3, 32, 3), nn.PReLU(32), pool(3, 2), nn.Conv2d(32, 64, 3), nn.PReLU(64), pool(2, 2), nn.Conv2d(64, 64, 3), nn.PReLU(64),
        nn.Conv2d(64, 128, 2), nn.PReLU(128),
    ],
    "other channels": lambda: [
        nn.Conv2d(5, 21, 4), nn.PReLU(21), pool(2, 1), nn.Conv2d(21, 80, 1), nn.PReLU(80), pool(3, 3), nn.Conv2d(80, 7, 2),
    ],
}  # fmt: skip
STEPS = {"like MTCNN's first": 2, "like its second": 4, "like its third": 4, "other channels": 3}  # stride of the outputs in pixels
SIZES = [(24, 24), (48, 48), (25, 31), (61, 801), (404, 57)]  # the last two span several tiles, horizontally or vertically


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("name", STACKS)
def test_the_same_answers_as_by_layers(name: str, size_hw: tuple[int, int]) -> None:
    torch.manual_seed(1)
    modules = drawn(STACKS[name]())
    pictures = torch.rand(3, modules[0].in_channels, *size_hw) * 255
    with torch.inference_mode():
        ours = PReLUStack(modules, 127.5, 1 / 128)(pictures)
        theirs = nn.Sequential(*modules)((pictures - 127.5) / 128)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert theirs.abs().max() > 0.1


@pytest.mark.parametrize(("name", "step"), STEPS.items())
def test_a_place_is_answered_alike_wherever_it_lies(name: str, step: int) -> None:
    """Outputs are bit-identical in another tile, in another batch and with another number of threads."""
    torch.manual_seed(2)
    modules = drawn(STACKS[name]())
    stack, pictures = PReLUStack(modules, 0, 1), torch.rand(5, modules[0].in_channels, 200, 240)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = stack(pictures)
        torch.set_num_threads(4)
        assert torch.equal(stack(pictures), whole)
    finally:
        torch.set_num_threads(threads)
    part = stack(pictures[1:2, :, 36:132, 60:180])[
        0, :, :-1, :-1
    ]  # without the last row and column, whose pooling windows may cross the edge
    assert torch.equal(part, whole[1, :, 36 // step :, 60 // step :][:, : part.shape[1], : part.shape[2]])


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("side", range(6, 30))
def test_pictures_around_the_smallest(name: str, side: int) -> None:
    modules = drawn(STACKS[name]())
    pictures = torch.rand(2, modules[0].in_channels, side, 40)
    try:
        with torch.inference_mode():
            theirs = nn.Sequential(*modules)(pictures)
    except RuntimeError:  # the image is too small for these layers
        with pytest.raises(ValueError, match="have the wrong number of channels or are too small for this stack"):
            PReLUStack(modules, 0, 1)(pictures)
    else:
        torch.testing.assert_close(PReLUStack(modules, 0, 1)(pictures), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [3, 4, 5, 6, 7])
def test_windows_that_reach_over_the_edge(side: int) -> None:
    modules = [nn.Conv2d(3, 16, 3), pool(3, 2)]
    pictures = torch.rand(50, 3, side, side)
    if side == 3:  # one position for a window of three: torch starts no window whose centre is outside
        with pytest.raises(ValueError, match="too small"):
            PReLUStack(modules, 0, 1)(pictures)
    else:
        torch.testing.assert_close(PReLUStack(modules, 0, 1)(pictures), nn.Sequential(*modules)(pictures).detach(), rtol=1e-4, atol=1e-5)


WRONG: dict[str, Callable[[], list[Any]]] = {
    "a step": lambda: [nn.Conv2d(3, 8, 3, stride=2)],
    "padding": lambda: [nn.Conv2d(3, 8, 3, padding=1)],
    "groups": lambda: [nn.Conv2d(4, 8, 3, groups=2)],
    "no bias": lambda: [nn.Conv2d(3, 8, 3, bias=False)],
    "oblong kernels": lambda: [nn.Conv2d(3, 8, (3, 1))],
    "one slope": lambda: [nn.Conv2d(3, 8, 3), nn.PReLU()],
    "whole windows": lambda: [nn.Conv2d(3, 8, 3), nn.MaxPool2d(2)],
    "windows apart": lambda: [nn.Conv2d(3, 8, 3), nn.MaxPool2d(2, 3, ceil_mode=True)],
    "another pooling": lambda: [nn.Conv2d(3, 8, 3), nn.AvgPool2d(2)],
    "pooling first": lambda: [pool(2, 2)],
    "PReLU after pooling": lambda: [nn.Conv2d(3, 8, 3), pool(2, 2), nn.PReLU(8)],
    "pooling twice": lambda: [nn.Conv2d(3, 8, 3), pool(2, 2), pool(2, 2)],
}


@pytest.mark.parametrize("name", WRONG)
def test_other_modules_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"PReLUStack doesn't support .*; use nn\.Sequential"):
        PReLUStack(WRONG[name](), 0, 1)


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images of shape \(2, 1, 24, 24\) have the wrong number of channels"):
        PReLUStack(STACKS["like its second"](), 0, 1)(torch.rand(2, 1, 24, 24))


def test_copies_and_other_defaults() -> None:
    modules, pictures = drawn(STACKS["like its second"]()), torch.rand(2, 3, 24, 24)
    plain = PReLUStack(modules, 0, 1)(pictures)
    assert torch.equal(copy.deepcopy(PReLUStack(modules, 0, 1))(pictures), plain)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            assert torch.equal(PReLUStack(modules, 0, 1)(pictures), plain)
    finally:
        torch.set_default_dtype(before)


def test_no_pictures() -> None:
    assert PReLUStack(STACKS["like its second"](), 0, 1)(torch.empty(0, 3, 24, 24)).shape == (0, 64, 3, 3)


def test_pictures_as_they_lie() -> None:
    """Channels-last, strided and byte inputs are converted correctly."""
    stack, pictures = PReLUStack(STACKS["like its second"](), 0, 1), torch.randint(0, 256, (2, 3, 24, 48), dtype=torch.uint8)
    plain = stack(pictures[..., ::2].float().clone())
    assert torch.equal(stack(pictures[..., ::2]), plain)
    assert torch.equal(stack(pictures.float().to(memory_format=torch.channels_last)[..., ::2]), plain)
