"""Sequence of convolutions, PReLUs and max poolings as a single CPU kernel that keeps all activations in the cache.

torch writes the output of every layer to memory. For small networks, this takes two to four times as long as the arithmetic. The source of
the kernel is `zoo/kernels/prelu_networks.cpp`. Its pooling doesn't always propagate NaN.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.kernels.library import address, library, sizes, threads

_FILLED = 16  # channels are padded to a multiple of this


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "slope")),
        *((name, ctypes.c_int64) for name in ("kernel", "in_channels", "out_channels", "pool", "step")),
    )


class PReLUStack(nn.Module):
    """Replacement for `nn.Sequential` for float32 inference on the CPU."""

    def __init__(self, modules: Sequence[nn.Module], shift: float, scale: float) -> None:
        """Copy the weights of the modules.

        Args:
            modules: convolutions (square kernels, bias, no padding, stride 1), each optionally followed by a PReLU (one slope per channel)
                and then by a max pooling (square windows, no padding, `ceil_mode=True`).
            shift: value subtracted from the pixels.
            scale: factor applied to the shifted pixels.
        """
        super().__init__()
        self._shift, self._scale = shift, scale
        self._layers: list[tuple[list[Tensor], list[int]]] = []
        for module in modules:
            unpooled = bool(self._layers) and self._layers[-1][1][3:] == [1, 1]
            if isinstance(module, nn.Conv2d) and _is_plain(module):
                self._layers.append(_convolution(module))
            elif isinstance(module, nn.PReLU) and unpooled and module.num_parameters == self._layers[-1][1][2]:
                self._layers[-1][0][2][: module.num_parameters] = module.weight.detach()
            elif isinstance(module, nn.MaxPool2d) and unpooled and _window(module):
                self._layers[-1][1][3:] = _window(module)
            else:
                raise ValueError(f"PReLUStack doesn't support {module}; use nn.Sequential")

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the output [B, C', H', W'], in channels-last memory format, for pixels [B, C, H, W]."""
        kernels = library("prelu_networks")
        assert kernels is not None
        pixels = pixels.to("cpu", torch.float32).contiguous()
        layers = (_Layer * len(self._layers))(*(_Layer(*map(address, numbers), *counts) for numbers, counts in self._layers))
        deep = sizes(len(layers))
        kernels.zoo_prelu_network_answers.restype = ctypes.c_int64
        height, width = (kernels.zoo_prelu_network_answers(*sizes(side), layers, *deep) for side in pixels.shape[2:])
        if pixels.shape[1] != layers[0].in_channels or min(height, width) < 1:
            raise ValueError(f"images of shape {tuple(pixels.shape)} have the wrong number of channels or are too small for this stack")
        answer = torch.empty(len(pixels), height, width, layers[-1].out_channels, dtype=torch.float32, device="cpu")
        given = address(pixels), *sizes(len(pixels), *pixels.shape[2:]), ctypes.c_float(self._shift), ctypes.c_float(self._scale)
        kernels.zoo_prelu_network(*given, layers, *deep, address(answer), threads())
        return answer.permute(0, 3, 1, 2)


def _convolution(module: nn.Conv2d) -> tuple[list[Tensor], list[int]]:
    """Return the padded weights, biases and slopes of a convolution, and its sizes in the order of the fields of `_Layer`."""
    assert module.bias is not None
    out, wide, side = module.out_channels, -(-module.out_channels // _FILLED) * _FILLED, int(module.kernel_size[0])
    plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    weights, bias = torch.zeros(side, side, module.in_channels, wide, **plain), torch.zeros(wide, **plain)
    weights[..., :out], bias[:out] = module.weight.detach().permute(2, 3, 1, 0), module.bias.detach()
    return [weights, bias, torch.ones(wide, **plain)], [side, module.in_channels, out, 1, 1]


def _is_plain(module: nn.Conv2d) -> bool:
    steps = (*module.stride, *module.dilation, module.groups)
    return module.bias is not None and module.padding == (0, 0) and len(set(module.kernel_size)) == 1 and set(steps) == {1}


def _window(pooling: nn.MaxPool2d) -> list[int]:
    """Return the window size and the stride of a pooling; an empty list if the kernel doesn't support it."""
    side, step = pooling.kernel_size, pooling.stride
    whole = isinstance(side, int) and isinstance(step, int) and step <= side
    return [side, step] if whole and pooling.ceil_mode and not pooling.padding and pooling.dilation == 1 else []  # type: ignore[list-item]
