"""Batch-norm in training mode in bf16 on the CPU, with custom C++ kernels if the machine has a compiler (`zoo.kernels.library`).

torch's kernels take two to three times as long as reading and writing the feature maps, and accounted for a quarter of a training step of
ResNet-50. The custom kernels can compute the sum with a shortcut, and ReLU, in the same passes through memory. To measure the gain, run
`python -m zoo.benchmarks.training_step`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.kernels.library import address, is_watched, library, sizes, threads

_LEAST_NUMBERS = 2**15  # number of values in a map; for smaller maps, waking a second thread takes longer than the kernels save


def normalise(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
    addend: Tensor | None = None,
) -> Tensor | None:
    """Compute `torch.nn.functional.batch_norm`, optionally fused with the operations that follow it.

    The positional arguments are those of torch's function. `relu` applies ReLU to the result. `addend`, a map of the same size, is added
    before ReLU; it requires `relu`. The result can be differentiated once. It is None if the kernels don't support the arguments.
    """
    if not training or eps <= 0 or input.numel() < _LEAST_NUMBERS:
        return None
    if weight is None or bias is None or (running_mean is None) != (running_var is None):
        return None
    if not _map(input) or input.numel() < 2 * input.shape[1]:
        return None
    if addend is not None and not (relu and _map(addend) and addend.shape == input.shape):
        return None
    vectors = [each for each in (weight, bias, running_mean, running_var) if each is not None]
    if not all(_plain(each, input.shape[1]) for each in vectors) or is_watched() or library("batch_norm") is None:
        return None
    found: Tensor = _Norm.apply(input, weight, bias, running_mean, running_var, momentum, eps, relu, addend)
    return found


def _map(tensor: Tensor) -> bool:
    """Return whether the kernels can read a tensor as a feature map: a plain bf16 tensor on the CPU, [B, C, H, W], channels-last."""
    plain = type(tensor) is Tensor and tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu" and tensor.dim() == 4
    return plain and tensor.is_contiguous(memory_format=torch.channels_last)


def _plain(vector: Tensor, channels: int) -> bool:
    """Return whether the kernels can read a tensor as a vector with one value per channel."""
    return vector.dtype == torch.float32 and vector.shape == (channels,) and vector.is_contiguous() and vector.device.type == "cpu"


class _Norm(torch.autograd.Function):
    """Batch-norm with the statistics of the batch, fused with an optional sum and ReLU."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
        momentum: float, eps: float, relu: bool, addend: Tensor | None,
    ) -> Tensor:  # fmt: skip
        mean, scale, answer = torch.empty_like(weight), torch.empty_like(weight), torch.empty_like(input)
        maps = address(input), address(addend), ctypes.c_int(relu), address(answer), *_size(input)
        vectors = [address(each) for each in (weight, bias, running_mean, running_var)]
        numbers = [ctypes.c_double(momentum), ctypes.c_double(eps)]
        _kernels().zoo_batch_norm(*maps, *vectors, *numbers, address(mean), address(scale), threads())
        # backward needs the mask of ReLU: without a sum, it is derived from the input, and with a sum, from the result
        through = (bias, None) if addend is None and relu else (None, answer if addend is not None else None)
        ctx.save_for_backward(input, weight, mean, scale, *through)
        ctx.relu = relu
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, scale, bias, answer = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(weight)
        of_input = torch.empty_like(input) if wanted[0] else None
        of_addend = None if answer is None else torch.empty_like(answer)
        given, made = [address(each) for each in (gradient, input, answer)], [address(of_addend), address(of_input)]
        vectors = [address(each) for each in (weight, bias, mean, scale, of_weight, of_bias)]
        _kernels().zoo_batch_norm_backward(*given, ctypes.c_int(ctx.relu), *made, *_size(input), *vectors, threads())
        of_vectors = of_weight if wanted[1] else None, of_bias if wanted[2] else None
        return of_input, *of_vectors, *[None] * 5, of_addend if wanted[8] else None


def _kernels() -> ctypes.CDLL:
    found = library("batch_norm")
    assert found is not None
    return found


def _size(maps: Tensor) -> tuple[ctypes.c_int64, ...]:
    """Return the number of positions (N · H · W) and the number of channels of a map [N, C, H, W]."""
    return sizes(maps.numel() // maps.shape[1], maps.shape[1])
