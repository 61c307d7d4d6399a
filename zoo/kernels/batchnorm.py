"""Batch-norm in training in bf16 on a processor, by kernels of our own where the machine has a compiler for them (`zoo.kernels.library`).

torch's take two to three times as long as reading and writing the maps does, and were a quarter of a training step of ResNet-50. The sum
with a shortcut and ReLU can be had in the same passes. What is gained: `python -m zoo.benchmarks.training_step`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.kernels.library import address, is_watched, library, sizes, threads

_LEAST_NUMBERS = 2**15  # of a map: below, waking a second thread takes longer than is gained


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
    """Compute what `torch.nn.functional.batch_norm` would, with its arguments; None where it had better do so itself.

    The answer can be differentiated once. What may follow it in the same passes are the sum with `addend`, a map of the same size, and
    `relu`, without which there is no sum.
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
    """Tell whether the kernels can read this, as a map."""
    plain = type(tensor) is Tensor and tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu" and tensor.dim() == 4
    return plain and tensor.is_contiguous(memory_format=torch.channels_last)


def _plain(vector: Tensor, channels: int) -> bool:
    """Tell whether the kernels can read this, with a number for each channel."""
    return vector.dtype == torch.float32 and vector.shape == (channels,) and vector.is_contiguous() and vector.device.type == "cpu"


class _Norm(torch.autograd.Function):
    """Batch-norm with the statistics of the batch, and what follows it."""

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
        # through ReLU alone, gradients find their way by the input; a sum is to be seen in the answer only
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
        maps = (
            address(gradient),
            address(input),
            address(answer),
            ctypes.c_int(ctx.relu),
            address(of_addend),
            address(of_input),
            *_size(input),
        )
        vectors = [address(each) for each in (weight, bias, mean, scale, of_weight, of_bias)]
        _kernels().zoo_batch_norm_backward(*maps, *vectors, threads())
        of_vectors = of_weight if wanted[1] else None, of_bias if wanted[2] else None
        return of_input, *of_vectors, *[None] * 5, of_addend if wanted[8] else None


def _kernels() -> ctypes.CDLL:
    found = library("batch_norm")
    assert found is not None
    return found


def _size(maps: Tensor) -> tuple[ctypes.c_int64, ...]:
    """Return the rows and channels of [N, C, H, W]."""
    return sizes(maps.numel() // maps.shape[1], maps.shape[1])
