"""InsightFace's IResNets 18/34/50/100, the backbones of the published ArcFace weights (Deng et al. 2019, arXiv 1801.07698).

A 3×3 stem at full resolution is followed by residual blocks of batch-norm, convolution, batch-norm, PReLU, convolution and batch-norm.
These blocks are the "improved residual unit" of Deng et al., section 3.2.1, after Han et al. 2017. The second convolution of a block has
the stride, and no activation follows the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from zoo.backbones import BACKBONES, Backbone, BackboneDefinition, Features, Level
from zoo.images.preprocess import Preprocess

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class ImprovedBlock(nn.Module):
    """Two 3×3 convolutions between three batch-norms. The shortcut is a 1×1 convolution if the shape changes, otherwise the identity."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        """Build a block; `stride` applies to the second convolution and the shortcut."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, channels, H / stride, W / stride]."""
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        total: Tensor = self.bn3(self.conv2(out)) + self.downsample(x)
        return total


class IResNet(Backbone):
    """IResNet: a stem at full resolution and four stages. The first block of every stage halves the map."""

    levels = tuple(Level(f"c{index}", width, 2 ** (index - 1)) for index, width in enumerate(_WIDTHS, start=2))

    def __init__(self, depth: int) -> None:
        """Build the network with one of the published depths: 18, 34, 50 or 100."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        before = _WIDTHS[0]
        for number, (width, blocks) in enumerate(zip(_WIDTHS, _BLOCKS[depth], strict=True), start=1):
            rest = [ImprovedBlock(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(ImprovedBlock(before, width, 2), *rest))
            before = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)  # as in arcface_torch: every block starts with a batch-norm

    def forward(self, images: Tensor) -> Features:
        """Return the outputs of the four stages, at strides 2 to 16."""
        return self.from_stem(self.prelu(self.bn1(self.conv1(images))))

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, followed by each stage."""
        stages = ([self.get_submodule(f"layer{number}")] for number in range(1, len(_WIDTHS) + 1))
        return [[self.conv1, self.bn1, self.prelu], *stages]


_PREPROCESS = partial(Preprocess, policy="squash", size_hw=(112, 112), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_OPTIONS = {"face": {"neck": "flat", "embedding_size": 512, "image_size": 112, "alignment": "arcface"}}
for _depth in _BLOCKS:
    _NAME = f"iresnet{_depth}"
    BACKBONES.add(_NAME, BackboneDefinition(_NAME, "InsightFace IResNet", partial(IResNet, _depth), _PREPROCESS, options=_OPTIONS))
