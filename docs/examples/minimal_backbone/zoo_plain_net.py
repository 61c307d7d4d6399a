"""A minimal backbone: a stem and three stages of one convolution each; every task works on it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from zoo.backbones import Backbone, BackboneDefinition, Features, Level
from zoo.images.preprocess import Preprocess


def convolution(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """Return a 3×3 convolution with batch-norm and ReLU."""
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class PlainNet(Backbone):
    """Maps RGB images [B, 3, H, W] to feature maps at strides 4, 8 and 16."""

    # name, channels and stride of each feature map, deepest last; checked against the real maps by the contract tests
    levels = (Level("c2", 32, 4), Level("c3", 64, 8), Level("c4", 128, 16))

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 16, 2)
        self.c2, self.c3, self.c4 = convolution(16, 32, 2), convolution(32, 64, 2), convolution(64, 128, 2)

    def forward(self, images: Tensor) -> Features:
        c2 = self.c2(self.stem(images))
        c3 = self.c3(c2)
        return {"c2": c2, "c3": c3, "c4": self.c4(c3)}

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the stem and the stages: the units of `freeze="stages=N"` and of layer-wise learning rates."""
        return [[self.stem], [self.c2], [self.c3], [self.c4]]


def preprocess() -> Preprocess:
    """Return how images are prepared for classification: resized and cropped to 64×64, ImageNet's mean and deviation."""
    return Preprocess(policy="crop", size_hw=(64, 64), crop_pct=1.0)


PLAIN_NET = BackboneDefinition("plain_net", "example", PlainNet, preprocess)
