"""Network blocks for tests of fused layers: random parameters and maps, and the nodes of autograd's graph."""

from __future__ import annotations

import copy
import shutil
import sys
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d
from timm.models.resnet import BasicBlock, Bottleneck, downsample_conv
from torch import Tensor, nn

import zoo.backbones.inception_resnet_v1
import zoo.backbones.timm  # noqa: F401  # registers what blocks compute
from zoo.backbones.cifar import BasicBlock as CifarBlock
from zoo.kernels.overrides import training_kernels

CPU = torch.device("cpu")
LAST = torch.channels_last
needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the kernels need Linux and a C++ compiler (g++)"
)


def drawn(*size: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return random bf16 maps, with a different mean and deviation for every channel."""
    generator = torch.Generator().manual_seed(seed)
    spread, middle = torch.rand(1, size[1], 1, 1, generator=generator) + 0.2, torch.randn(1, size[1], 1, 1, generator=generator)
    return ((torch.randn(size, generator=generator) * spread + middle) * scale).bfloat16().to(memory_format=LAST)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: BasicBlock(64, 64),
    "basic, strided": lambda: BasicBlock(32, 64, 2, downsample_conv(32, 64, 1, 2)),
    "bottleneck": lambda: Bottleneck(128, 32),
    "bottleneck, strided": lambda: Bottleneck(64, 32, 2, downsample_conv(64, 128, 1, 2)),
    "bottleneck, grouped": lambda: Bottleneck(128, 32, cardinality=32, base_width=8),
    "CIFAR": lambda: CifarBlock(64, 64, 1),
    "CIFAR, strided": lambda: CifarBlock(32, 64, 2),
    "convolution": lambda: BasicConv2d(64, 96, 3, 1, 1),
}
NORMS = {"basic": 2, "basic, strided": 3, "bottleneck": 3, "bottleneck, strided": 4, "bottleneck, grouped": 3}
NORMS |= {"CIFAR": 2, "CIFAR, strided": 2, "convolution": 1}


def nodes(answer: Tensor) -> Counter[str]:
    """Count the nodes of autograd's graph by name."""
    seen, left = set(), [answer.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [following for following, _ in node.next_functions]
    return Counter(type(node).__name__ for node in seen)


def built(name: str) -> tuple[nn.Module, Tensor]:
    """Return a block with random parameters, and maps for it."""
    torch.manual_seed(1)
    block = BLOCKS[name]().to(memory_format=LAST)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return block, drawn(4, next(block.parameters()).shape[1], 32, 32)


def run(block: nn.Module, maps: Tensor, precision: str, known: bool) -> tuple[dict[str, Tensor], Counter[str]]:
    """Return the output, gradients and buffers of a copy of the block by name, and autograd's nodes."""
    block = copy.deepcopy(block)
    leaf = (
        maps.detach()
        .clone(memory_format=torch.preserve_format)
        .to(torch.bfloat16 if precision == "bf16" else torch.float32)
        .requires_grad_()
    )
    kernels = training_kernels(block if known else nn.Identity(), precision, CPU)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), kernels:
        answer = block(leaf)
    assert not any("forward" in vars(module) for module in block.modules())
    direction = drawn(*answer.shape, seed=5)
    graph = nodes(answer)
    answer.backward(direction.to(answer.dtype))
    assert leaf.grad is not None
    found = {"answer": answer.detach(), "input": leaf.grad} | {name: each.grad for name, each in block.named_parameters()}
    return found | {f"{name} itself": each for name, each in block.named_buffers()}, graph
