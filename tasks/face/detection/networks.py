"""The three trained networks of facenet-pytorch's MTCNN, whose weights are in its wheel, laid out for processors.

Where the machine has a compiler their convolutions are kernels of our own (`PReLUStack`); elsewhere torch computes them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.kernels.library import library
from zoo.tasks.face.detection.stack import PReLUStack

_MIDDLE, _SPREAD = 127.5, 128  # of pixels, as the networks take them
_LAST: Any = torch.channels_last


class Normalised(nn.Module):
    """A network, given pixels in 0–255; their own memory is used."""

    def __init__(self, network: nn.Module) -> None:
        """Put what normalises before a network."""
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Any:
        """Answer as the network does."""
        return self.network(pixels.sub_(_MIDDLE).mul_(1 / _SPREAD))


class FirstNetwork(nn.Module):
    """What looks at every cell of 12 pixels of a picture, in steps of two.

    The same numbers as facenet-pytorch's PNet, three to four times as quick by torch's functions alone: channels last; the ten channels of
    its first layer filled up to whole registers; pooling as maxima of rows, then of columns; and moves of boxes for candidates alone.
    """

    def __init__(self, trained: Any) -> None:
        """Take over the weights of a PNet."""
        super().__init__()
        self._channels = trained.conv1.out_channels
        self.conv1, self.prelu1 = nn.Conv2d(3, 16, 3), nn.PReLU(16)
        with torch.no_grad():
            for filled, given in zip(self.parameters(), (*trained.conv1.parameters(), trained.prelu1.weight), strict=True):
                filled.zero_()[: self._channels] = given
        self.rest = nn.Sequential(trained.conv2, trained.prelu2, trained.conv3, trained.prelu3)
        last = trained.conv4_1
        self.register_buffer("_face", (last.weight[1] - last.weight[0]).detach().flatten())
        self.register_buffer("_face_bias", (last.bias[1] - last.bias[0]).detach())
        self.move = nn.Linear(last.in_channels, 4)
        self.move.load_state_dict({"weight": trained.conv4_2.weight.flatten(1), "bias": trained.conv4_2.bias})

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Look at a picture [1, 3, H, W].

        Returns:
            The logarithm of the odds that each cell is a face [h, w], and its features [h, w, 32], from which `move` gives the four
            moves of the box.
        """
        seen = self.prelu1(self.conv1(pixels)).permute(0, 2, 3, 1)[0]
        pooled = _larger(_larger(seen, 0), 1, self._channels)
        features = self.rest(pooled.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        return features @ self._face + self._face_bias, features


def _larger(values: Tensor, dim: int, channels: int | None = None) -> Tensor:
    """Return the larger of each two neighbours along a dimension, for the first channels [H, W, C]; a last odd one stays alone."""
    values = values[..., :channels]
    length = values.shape[dim]
    first, second = (values[(slice(None),) * dim + (slice(start, None, 2),)] for start in (0, 1))
    pairs = torch.maximum(first.narrow(dim, 0, length // 2), second)
    return pairs if length % 2 == 0 else torch.cat([pairs, first.narrow(dim, length // 2, 1)], dim)


class FirstKernels(nn.Module):
    """The same by a kernel, again four times as quick: the moves of all cells cost less than keeping their features."""

    def __init__(self, trained: Any) -> None:
        """Take over the weights of a PNet."""
        super().__init__()
        features, last = trained.conv4_1.in_channels, nn.Conv2d(trained.conv4_1.in_channels, 5, 1)
        face, move = trained.conv4_1, trained.conv4_2
        with torch.no_grad():
            last.weight.copy_(torch.cat([face.weight[1:] - face.weight[:1], move.weight]).view(5, features, 1, 1))
            torch.cat([face.bias[1:] - face.bias[:1], move.bias], out=last.bias)
        layers = (trained.conv1, trained.prelu1, trained.pool1, trained.conv2, trained.prelu2, trained.conv3, trained.prelu3, last)
        self._layers = PReLUStack(layers, _MIDDLE, 1 / _SPREAD)
        self.move = nn.Identity()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Look at a picture [1, 3, H, W] in 0–255; odds as those of `FirstNetwork`, and in place of features the moves [h, w, 4]."""
        answer = self._layers(pixels)[0].permute(1, 2, 0)
        return answer[..., 0], answer[..., 1:]


def _by_kernels(trained: Any) -> Any:
    """Let an RNet or ONet compute all of its convolutions, and what stands between them, where the first one is."""
    names = [name for name, module in trained.named_children() if isinstance(module, (nn.Conv2d, nn.MaxPool2d))]
    names += [f"prelu{name.removeprefix('conv')}" for name in names if name.startswith("conv")]
    order = [name for name, _ in trained.named_children() if name in names]
    stack = PReLUStack([getattr(trained, name) for name in order], _MIDDLE, 1 / _SPREAD)
    for name in order:
        setattr(trained, name, stack if name == order[0] else nn.Identity())
    return trained


@dataclass(frozen=True)
class Networks:
    """The cascade.

    Attributes:
        first: proposes cells, see `FirstNetwork`.
        move: makes the moves of boxes [N, 4] from some of its features.
        second: [B, 3, 24, 24], in 0–255 as for all of them, to moves of boxes [B, 4] and probabilities of no face and of a face [B, 2].
        third: [B, 3, 48, 48] to moves [B, 4], points [B, 10] (five x, then five y) and probabilities [B, 2].
        at_once: how many pictures the second and the third had best take: of few, what torch's layers hand on stays in the cache.
    """

    first: nn.Module
    move: nn.Module
    second: nn.Module
    third: nn.Module
    at_once: int


@functools.cache
def networks() -> Networks:
    """Return the networks, which are read once."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # takes a while to import

    first, second, third = PNet(), RNet(), ONet()
    if library("prelu_networks") is not None:
        kernels = FirstKernels(first)
        found = Networks(kernels, kernels.move, _by_kernels(second), _by_kernels(third), 512)
    else:
        plain = FirstNetwork(first)
        found = Networks(Normalised(plain), plain.move, Normalised(second), Normalised(third), 64)
    for network in (found.first, found.second, found.third):
        network.to(memory_format=_LAST).eval().requires_grad_(False)
    return found
