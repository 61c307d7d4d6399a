"""Convolutions with PReLU and pooling by maxima, in sequence, as one kernel: pictures pass through all of them in the cache.

torch passes every map through memory for every layer, PReLU and pooling included; for small networks that takes two to four times as long
as their products do. The kernel's source is `zoo/native/prelu_networks.cpp`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.native import address, library, sizes, threads

_FILLED = 16  # channels are filled up to a multiple of this


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "slope")),
        *((name, ctypes.c_int64) for name in ("kernel", "in_channels", "out_channels", "pool", "step")),
    )


class PReLUStack(nn.Module):
    """What `nn.Sequential` of the same modules would answer, for pictures in float32 on a CPU, without gradients."""

    def __init__(self, modules: Sequence[nn.Module], shift: float, scale: float) -> None:
        """Take over the weights.

        Args:
            modules: convolutions (square kernels, bias, no padding, steps of one), each of which may be followed by a PReLU (a slope for
                each channel) and then by a pooling by maxima (square windows, no padding, the last ones reaching over the edge).
            shift: what is taken of pixels.
            scale: what they are multiplied by then.
        """
        super().__init__()
        self._shift, self._scale = shift, scale
        self._numbers: list[Tensor] = []  # what the layers point at
        self._layers: list[_Layer] = []
        for module in modules:
            if isinstance(module, nn.Conv2d):
                self._layers.append(self._convolution(module))
            elif isinstance(module, nn.PReLU):
                self._numbers[-1][: module.num_parameters] = module.weight.detach()
            else:
                pooling: Any = module
                self._layers[-1].pool, self._layers[-1].step = pooling.kernel_size, pooling.stride

    def _convolution(self, module: nn.Conv2d) -> _Layer:
        assert module.bias is not None
        out, wide = module.out_channels, -(-module.out_channels // _FILLED) * _FILLED
        side = int(module.kernel_size[0])
        weights, bias, slope = torch.zeros(side, side, module.in_channels, wide), torch.zeros(wide), torch.ones(wide)
        weights[..., :out], bias[:out] = module.weight.detach().permute(2, 3, 1, 0), module.bias.detach()
        self._numbers += [weights, bias, slope]
        return _Layer(*(address(each) for each in (weights, bias, slope)), side, module.in_channels, out, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Answer for pictures [B, C, H, W]: [B, C', H', W'], channels last."""
        kernels = library("prelu_networks")
        assert kernels is not None
        pixels = pixels.float().contiguous()
        height, width = (self._answers(side) for side in pixels.shape[2:])
        answer = torch.empty(len(pixels), height, width, self._layers[-1].out_channels)
        given = address(pixels), *sizes(len(pixels), *pixels.shape[2:]), ctypes.c_float(self._shift), ctypes.c_float(self._scale)
        layers = (_Layer * len(self._layers))(*self._layers), *sizes(len(self._layers))
        kernels.zoo_prelu_network(*given, *layers, address(answer), threads())
        return answer.permute(0, 3, 1, 2)

    def _answers(self, side: int) -> int:
        for layer in self._layers:
            side -= layer.kernel - 1
            side = -((layer.pool - side) // layer.step) + 1 if side > 0 else 0
        return max(side, 0)
