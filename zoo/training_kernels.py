"""The quickest ways there are on this processor to compute the layers of a network in training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from zoo.batch_norm import normalise
from zoo.convolutions import convolve
from zoo.native import library

_Function = Callable[..., Any]


def has_norm_kernels(precision: str, device: torch.device) -> bool:
    """Tell whether kernels of the zoo's own compute batch-norm here; they are made where they weren't yet.

    Args:
        precision: that autocast is set to.
        device: that the model is on.
    """
    return _applies(precision, device) and library("batch_norm") is not None


def training_kernels(precision: str, device: torch.device, norms: bool = True) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which this thread computes layers in the quickest way; elsewhere than in bf16 on a CPU, an empty one.

    Args:
        precision: that autocast is set to.
        device: that the model is on.
        norms: batch-norm too, where there are kernels for it.
    """
    if not _applies(precision, device):
        return contextlib.nullcontext()
    return _Kernels({F.conv2d: convolve, F.batch_norm: normalise} if norms else {F.conv2d: convolve})


def _applies(precision: str, device: torch.device) -> bool:
    return precision == "bf16" and device.type == "cpu"


class _Kernels(TorchFunctionMode):
    """Takes the place of torch's functions where it pays."""

    def __init__(self, instead: Mapping[_Function, _Function]) -> None:
        super().__init__()
        self._instead = instead

    def __torch_function__(
        self, func: _Function, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        instead = self._instead.get(func)
        found = None if instead is None else instead(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found
