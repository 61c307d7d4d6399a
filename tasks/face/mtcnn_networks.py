"""The three trained networks of facenet-pytorch's MTCNN, laid out for processors.

Channels come last, and the first network is widened to whole registers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_WIDE = 16  # channels: ten of them leave a part of every register empty


@dataclass(frozen=True)
class Networks:
    """One picture's way.

    Attributes:
        first: pictures [B, 3, H, W] to [B, 6, h, w]: two logits (no face, face) and four moves of the box, for every second place of a
            cell of 12 pixels.
        second: [B, 3, 24, 24] to moves [B, 4] and probabilities [B, 2].
        third: [B, 3, 48, 48] to moves [B, 4], points [B, 10] (five x, then five y) and probabilities [B, 2].
    """

    first: nn.Module
    second: nn.Module
    third: nn.Module


@functools.cache
def networks() -> Networks:
    """Return the networks, read once; their weights are in facenet-pytorch's wheel."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # takes a while to import

    last: Any = torch.channels_last
    found = Networks(_widened(PNet()), RNet(), ONet())
    for network in (found.first, found.second, found.third):
        network.to(memory_format=last).eval().requires_grad_(False)
    return found


def _widened(net: Any) -> nn.Module:
    """Return the first network with its first layer's channels filled up with zeros, and its two last layers as one."""
    first, second, last = nn.Conv2d(3, _WIDE, 3), nn.Conv2d(_WIDE, net.conv2.out_channels, 3), nn.Conv2d(net.conv3.out_channels, 6, 1)
    slopes = nn.PReLU(_WIDE)
    with torch.no_grad():
        for filled, given in (
            (first.weight, net.conv1.weight),
            (first.bias, net.conv1.bias),
            (second.weight, net.conv2.weight),
            (slopes.weight, net.prelu1.weight),
        ):
            _fill(filled, given)
        second.bias = net.conv2.bias
        last.weight.copy_(torch.cat([net.conv4_1.weight, net.conv4_2.weight]))
        last.bias.copy_(torch.cat([net.conv4_1.bias, net.conv4_2.bias]))  # type: ignore[union-attr]  # it has one
    return nn.Sequential(first, slopes, net.pool1, second, net.prelu2, net.conv3, net.prelu3, last)


def _fill(filled: Tensor | None, given: Tensor) -> None:
    """Copy a tensor into the beginning of a larger one, whose rest becomes nought."""
    assert filled is not None, "the layer has a bias"
    filled.zero_()
    filled[tuple(slice(size) for size in given.shape)] = given
