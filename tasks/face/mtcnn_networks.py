"""The three trained networks of facenet-pytorch's MTCNN, whose weights are in its wheel; the first one laid out for processors."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_LAST: Any = torch.channels_last


class FirstNetwork(nn.Module):
    """What looks at every cell of 12 pixels of a picture, in steps of two.

    The same numbers as facenet-pytorch's PNet, three to four times as quick: channels last; the ten channels of its first layer filled
    up to whole registers; pooling as maxima of rows, then of columns; and moves of boxes for candidates alone.
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


@dataclass(frozen=True)
class Networks:
    """The cascade.

    Attributes:
        first: proposes cells.
        second: [B, 3, 24, 24] to moves of boxes [B, 4] and probabilities of no face and of a face [B, 2].
        third: [B, 3, 48, 48] to moves [B, 4], points [B, 10] (five x, then five y) and probabilities [B, 2].
    """

    first: FirstNetwork
    second: nn.Module
    third: nn.Module


@functools.cache
def networks() -> Networks:
    """Return the networks, which are read once."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # takes a while to import

    found = Networks(FirstNetwork(PNet()), RNet(), ONet())
    for network in (found.first, found.second, found.third):
        network.to(memory_format=_LAST).eval().requires_grad_(False)
    return found
