"""The CIFAR ResNets 20/32/44/56/110 of He et al. 2015 (arXiv 1512.03385), section 4.2, with option-A shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import BACKBONES, Backbone, BackboneDefinition, Features, Level
from zoo.images.preprocess import Preprocess
from zoo.kernels.fusion import Activate, fusible

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
        """Return every `stride`-th pixel; new channels are zeros, half of them on either side (option A)."""
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
    """6n + 2 layers: a 3×3 stem at full resolution and three stages of n blocks with 16, 32 and 64 channels."""

    levels = tuple(Level(f"c{index + 2}", width, 2**index) for index, width in enumerate(_WIDTHS))

    def __init__(self, depth: int) -> None:
        """Build the network with `depth` weighted layers, counting the classifier."""
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.layer1 = self._stage(_WIDTHS[0], _WIDTHS[0], blocks, stride=1)
        self.layer2 = self._stage(_WIDTHS[0], _WIDTHS[1], blocks, stride=2)
        self.layer3 = self._stage(_WIDTHS[1], _WIDTHS[2], blocks, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, channels, stride)
        return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Features:
        """Return the outputs of the three stages, at strides 1, 2 and 4."""
        return self.levels_of(F.relu(self.bn1(self.conv1(images))))

    def levels_of(self, stem: Tensor) -> Features:
        """Return the outputs of the three stages, given the output of the stem [B, 16, H, W]."""
        c2 = self.layer1(stem)
        c3 = self.layer2(c2)
        return {"c2": c2, "c3": c3, "c4": self.layer3(c3)}

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, then each stage."""
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3]]


@fusible(f"{__name__}.CifarResNet", {nn.BatchNorm2d: ("bn1",)})
def _network(network: CifarResNet, images: Tensor, activate: Activate) -> Features:
    return network.levels_of(activate(network.bn1, network.conv1(images)))


def _preprocess() -> Preprocess:
    return Preprocess(policy="crop", size_hw=(32, 32), crop_pct=1.0)


for _depth in (20, 32, 44, 56, 110):
    BACKBONES.add(
        f"resnet{_depth}",
        BackboneDefinition(f"resnet{_depth}", "CIFAR ResNet", partial(CifarResNet, _depth), _preprocess),
    )
