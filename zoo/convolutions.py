"""Convolutions in training in bf16 on a processor, as products of matrices where those are quicker than oneDNN's own kernels.

Two kinds of them make up much of a step of a ResNet. With a kernel of 1×1, a convolution over channels-last maps is a product of
matrices as it stands, forward and backward; where it strides, the places in between needn't be seen. With a wide 3×3 kernel over few
places, as in the last stage, oneDNN computes the gradient of the weights several times as slowly as the convolution itself; the same
gradient is a product of the gradient that comes in with the patches of the map. The sums are the same but for the order in which they
are rounded. What it gains: `python -m zoo.benchmarks.training_step`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# measured with 16 pictures of 224: below, calling takes longer than is gained
_LEAST_PRODUCTS = 2**24  # multiplications of a 1×1 convolution
_WIDE_KERNEL = 2**20  # weights from which oneDNN's gradient of them is slow
_FEW_PLACES = 4096  # of the answer, up to which patches are quickly written out
_Pair = tuple[int, int]


def matrix_convolutions(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which this thread's convolutions are computed in the quickest way; elsewhere than in bf16 on a CPU, an empty one.

    Args:
        precision: that autocast is set to.
        device: that the model is on.
    """
    return _MatrixConvolutions() if precision == "bf16" and device.type == "cpu" else contextlib.nullcontext()


class _MatrixConvolutions(TorchFunctionMode):
    """Takes the place of `torch.nn.functional.conv2d` where it pays."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = _convolve(*args, **kwargs) if func is F.conv2d else None
        return func(*args, **kwargs) if found is None else found


def _convolve(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor | None:
    """Compute what conv2d would, with its arguments; None where it had better do so itself."""
    if isinstance(padding, str) or groups != 1 or _pair(dilation) != (1, 1) or input.dim() != 4:
        return None
    if not input.is_contiguous(memory_format=torch.channels_last):
        return None
    stride, padding = _pair(stride), _pair(padding)
    height, width = (
        (size + 2 * border - kernel) // step + 1
        for size, border, kernel, step in zip(input.shape[2:], padding, weight.shape[2:], stride, strict=True)
    )
    places = len(input) * height * width
    if weight.shape[2:] == (1, 1) and padding == (0, 0) and places * weight.numel() >= _LEAST_PRODUCTS:
        rows = input.permute(0, 2, 3, 1)
        if stride != (1, 1):
            rows = rows[:, :: stride[0], :: stride[1]]
        return F.linear(rows, weight.permute(0, 2, 3, 1).flatten(1), bias).permute(0, 3, 1, 2)  # a gradient in the order of the weights
    learns = weight.requires_grad and torch.is_grad_enabled()
    if learns and weight.shape[2:] != (1, 1) and weight.numel() >= _WIDE_KERNEL and 0 < places <= _FEW_PLACES:
        found: Tensor = _Wide.apply(input.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16(), stride, padding)
        return found
    return None


def _pair(value: Any) -> _Pair:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


class _Wide(torch.autograd.Function):
    """A convolution whose weights' gradient is a product of matrices."""

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
    """Multiply the gradient of the answer, [N, O, H', W'], with the patches of the input, [N, C, H, W]: [O, C, kernel, kernel]."""
    answers, channels, *kernel = weight.shape
    patches = _patches(input, kernel, stride, padding, gradient.shape[2:])
    by_channel = gradient.permute(1, 0, 2, 3).reshape(answers, -1)
    return (by_channel @ patches).view(answers, *kernel, channels).permute(0, 3, 1, 2)


def _patches(input: Tensor, kernel: list[int], stride: _Pair, padding: _Pair, size: torch.Size) -> Tensor:
    """Write out what the kernel sees at every place: [places, kernel · kernel · C]."""
    maps = F.pad(input.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    count, _, _, channels = maps.shape
    picture, row, column, channel = maps.stride()
    seen = maps.as_strided((count, *size, *kernel, channels), (picture, stride[0] * row, stride[1] * column, row, column, channel))
    return seen.reshape(count * size[0] * size[1], -1)
