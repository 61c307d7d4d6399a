"""The CIFAR ResNets 20/32/44/56/110 of He et al. 2015 (arXiv 1512.03385), section 4.2, with option-A shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import BACKBONES, Backbone, BackboneDefinition, Features, Level
from zoo.images.preprocess import Preprocess
from zoo.kernels.overrides import Activate, fusible

_WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut without parameters (option A)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        """Build a block; `stride` applies to the first convolution and the shortcut."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, channels, H / stride, W / stride]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Return every `stride`-th pixel, with zeros for the new channels, half of them on either side (option A)."""
        if not self.new_channels:
            return x
        side = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, side, self.new_channels - side))


@fusible(f"{__name__}.BasicBlock", {nn.BatchNorm2d: ("bn1", "bn2")})
def _block(block: BasicBlock, x: Tensor, activate: Activate) -> Tensor:
    if x.dtype != torch.bfloat16:
        return BasicBlock.forward(block, x)  # unfused: the sum is computed in float32
    return activate(block.bn2, block.conv2(activate(block.bn1, block.conv1(x))), block.shortcut(x))


class CifarResNet(Backbone):
    """ResNet with 6n + 2 layers: a 3×3 stem at full resolution, and three stages of n blocks with 16, 32 and 64 channels."""

    levels = tuple(Level(f"c{index + 2}", width, 2**index) for index, width in enumerate(_WIDTHS))

    def __init__(self, depth: int) -> None:
        """Build a network with `depth` weighted layers, including the classifier."""
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        before = _WIDTHS[0]
        for number, width in enumerate(_WIDTHS, start=1):
            rest = [BasicBlock(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(BasicBlock(before, width, 1 if number == 1 else 2), *rest))
            before = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Features:
        """Return the outputs of the three stages, at strides 1, 2 and 4."""
        return self.from_stem(F.relu(self.bn1(self.conv1(images))))

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, followed by each stage."""
        return [[self.conv1, self.bn1], *([self.get_submodule(f"layer{number}")] for number in (1, 2, 3))]


@fusible(f"{__name__}.CifarResNet", {nn.BatchNorm2d: ("bn1",)})
def _network(network: CifarResNet, images: Tensor, activate: Activate) -> Features:
    return network.from_stem(activate(network.bn1, network.conv1(images)))


_PREPROCESS = partial(Preprocess, policy="crop", size_hw=(32, 32), crop_pct=1.0)
for _depth in (20, 32, 44, 56, 110):
    _NAME = f"resnet{_depth}"
    BACKBONES.add(_NAME, BackboneDefinition(_NAME, "CIFAR ResNet", partial(CifarResNet, _depth), _PREPROCESS))
