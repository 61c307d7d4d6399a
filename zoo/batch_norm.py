"""Batch-norm in training in bf16 on a processor, by kernels of our own where the machine has a compiler for them (`zoo.native`).

torch's take two to three times as long as reading and writing the maps does, and were a quarter of a training step of ResNet-50. What is
gained: `python -m zoo.benchmarks.training_step`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.native import library

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
) -> Tensor | None:
    """Compute what `torch.nn.functional.batch_norm` would, with its arguments; None where it had better do so itself.

    The answer can be differentiated once.
    """
    if not training or eps <= 0 or input.dtype != torch.bfloat16 or input.dim() != 4 or input.numel() < _LEAST_NUMBERS:
        return None
    if weight is None or bias is None or (running_mean is None) != (running_var is None) or input.numel() < 2 * input.shape[1]:
        return None
    if type(input) is not Tensor or input.device.type != "cpu" or not input.is_contiguous(memory_format=torch.channels_last):
        return None
    vectors = [each for each in (weight, bias, running_mean, running_var) if each is not None]
    if not all(_plain(each, input.shape[1]) for each in vectors) or _watched() or library("batch_norm") is None:
        return None
    found: Tensor = _Norm.apply(input, weight, bias, running_mean, running_var, momentum, eps)
    return found


def _plain(vector: Tensor, channels: int) -> bool:
    """Tell whether the kernels can read this."""
    return vector.dtype == torch.float32 and vector.shape == (channels,) and vector.is_contiguous() and vector.device.type == "cpu"


def _watched() -> bool:
    """Tell whether something has to see torch's own function: checkpointing, which compares what is kept for backward, or torch.func."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    transforms = getattr(torch._C, "_are_functorch_transforms_active", None)
    return hooks is None or transforms is None or hooks(True) is not None or transforms()


class _Norm(torch.autograd.Function):
    """Batch-norm with the statistics of the batch."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
        momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        mean, scale, answer = torch.empty_like(weight), torch.empty_like(weight), torch.empty_like(input)
        tensors = [_at(each) for each in (weight, bias, running_mean, running_var)]
        numbers = [ctypes.c_double(momentum), ctypes.c_double(eps)]
        _kernels().zoo_batch_norm(_at(input), _at(answer), *_size(input), *tensors, *numbers, _at(mean), _at(scale), _threads())
        ctx.save_for_backward(input, weight, mean, scale)
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(weight)
        of_input = torch.empty_like(input) if ctx.needs_input_grad[0] else None
        tensors = [_at(each) for each in (weight, mean, scale, of_weight, of_bias)]
        _kernels().zoo_batch_norm_backward(_at(gradient), _at(input), _at(of_input), *_size(input), *tensors, _threads())
        return of_input, of_weight if ctx.needs_input_grad[1] else None, of_bias if ctx.needs_input_grad[2] else None, *[None] * 4


def _kernels() -> ctypes.CDLL:
    found = library("batch_norm")
    assert found is not None
    return found


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _size(maps: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    """Return the rows and channels of [N, C, H, W]."""
    return ctypes.c_int64(maps.numel() // maps.shape[1]), ctypes.c_int64(maps.shape[1])


def _threads() -> ctypes.c_int:
    return ctypes.c_int(torch.get_num_threads())
