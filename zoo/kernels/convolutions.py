"""Convolutions in training in bf16 on the CPU, computed as matrix products where these are faster than oneDNN's kernels.

Two kinds of convolutions take up much of a training step of a ResNet:

- 1×1 convolutions. Over channels-last maps, a 1×1 convolution is a matrix product without any rearrangement, forward and backward. If it
  has a stride, the skipped positions needn't be read.
- Wide 3×3 convolutions over few positions, as in the last stage. oneDNN computes the gradient of their weights several times as slowly as
  the convolution itself. This gradient is the product of the output's gradient and the patches of the input.

Results differ from oneDNN's only by rounding. To measure the gain, run `python -m zoo.benchmarks.training_step`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# limits measured with 16 images of 224 × 224 pixels
_LEAST_PRODUCTS = 2**24  # multiplications in a 1×1 convolution; with fewer, the overhead of the calls exceeds the gain
_WIDE_KERNEL = 2**20  # minimum number of weights for which oneDNN computes the gradient slowly
_FEW_PLACES = 4096  # maximum number of output positions for which copying the patches is fast
_Pair = tuple[int, int]


def convolve(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor | None:
    """Compute `torch.nn.functional.conv2d`, or return None if torch should do so; the arguments are those of torch's function."""
    steps, border = _pair(stride), _pair(padding)
    if steps is None or border is None or _pair(dilation) != (1, 1) or groups != 1 or not _in_bf16():
        return None
    if input.dim() != 4 or not input.is_contiguous(memory_format=torch.channels_last):
        return None
    height, width = (
        (size + 2 * around - kernel) // step + 1
        for size, around, kernel, step in zip(input.shape[2:], border, weight.shape[2:], steps, strict=True)
    )
    places, pointwise = len(input) * height * width, weight.shape[2:] == (1, 1)
    if pointwise:
        pays = border == (0, 0) and places * weight.numel() >= _LEAST_PRODUCTS
    else:
        pays = weight.requires_grad and torch.is_grad_enabled() and weight.numel() >= _WIDE_KERNEL and 0 < places <= _FEW_PLACES
    if not pays:
        return None
    rounded = (input.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16())
    found: Tensor = _Pointwise.apply(*rounded, steps) if pointwise else _Wide.apply(*rounded, steps, border)
    return found


def _pair(value: Any) -> _Pair | None:
    """Return an integer or a pair as a pair; None for any other value."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple) and len(value) == 2:
        return value
    return None


def _in_bf16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


class _Pointwise(torch.autograd.Function):
    """A 1×1 convolution as a matrix product.

    It saves the same tensors for backward as conv2d, so that activation checkpointing can recompute it with conv2d.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride = stride
        return F.linear(_seen(input, stride), weight.permute(0, 2, 3, 1).flatten(1), bias).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        maps = gradient.permute(0, 2, 3, 1)
        rows, kernel = maps.reshape(-1, len(weight)), weight.permute(0, 2, 3, 1).flatten(1)
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            there = (rows @ kernel).view(*maps.shape[:3], -1)
            if ctx.stride == (1, 1):
                of_input = there.permute(0, 3, 1, 2)
            else:
                of_input = torch.zeros_like(input)
                _seen(of_input, ctx.stride).copy_(there)
        if ctx.needs_input_grad[1]:  # optimisers and distributed training rely on the gradient having the weights' memory layout
            of_weight = (rows.t() @ _seen(input, ctx.stride).reshape(len(rows), -1)).view(len(weight), 1, 1, -1).permute(0, 3, 1, 2)
        return of_input, of_weight, rows.sum(0) if ctx.needs_input_grad[2] else None, None


def _seen(input: Tensor, stride: _Pair) -> Tensor:
    """Return the input at the positions that a 1×1 kernel reads: [N, H', W', C]."""
    return input.permute(0, 2, 3, 1)[:, :: stride[0], :: stride[1]]


class _Wide(torch.autograd.Function):
    """A convolution that computes the gradient of its weights as a matrix product."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(input, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        settings = ([len(weight)], ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1)
        wanted = (ctx.needs_input_grad[0], False, ctx.needs_input_grad[2])
        of_input, _, of_bias = torch.ops.aten.convolution_backward(gradient, input, weight, *settings, wanted)
        return of_input, _weight_gradient(input, weight, gradient, ctx.stride, ctx.padding), of_bias, None, None


def _weight_gradient(input: Tensor, weight: Tensor, gradient: Tensor, stride: _Pair, padding: _Pair) -> Tensor:
    """Return the gradient of the weights, [O, C, kernel, kernel].

    It is the product of the output's gradient, [N, O, H', W'], and the patches of the input, [N, C, H, W], that the kernel reads.
    """
    answers, channels, *kernel = weight.shape
    maps = F.pad(input.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    picture, row, column, channel = maps.stride()
    shape = (len(maps), *gradient.shape[2:], *kernel, channels)
    seen = maps.as_strided(shape, (picture, stride[0] * row, stride[1] * column, row, column, channel))
    by_channel = gradient.permute(1, 0, 2, 3).reshape(answers, -1)
    patches = seen.reshape(by_channel.shape[1], -1)  # copies, [positions, kernel · kernel · C]
    return (by_channel @ patches).view(answers, *kernel, channels).permute(0, 3, 1, 2)
