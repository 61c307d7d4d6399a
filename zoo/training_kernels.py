"""The quickest ways there are on this processor to compute the layers of a network in training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from zoo.batch_norm import normalise
from zoo.convolutions import convolve

_INSTEAD: Mapping[Callable[..., Any], Callable[..., Tensor | None]] = {F.conv2d: convolve, F.batch_norm: normalise}


def training_kernels(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which this thread computes layers in the quickest way; elsewhere than in bf16 on a CPU, an empty one.

    Args:
        precision: that autocast is set to.
        device: that the model is on.
    """
    return _Kernels() if precision == "bf16" and device.type == "cpu" else contextlib.nullcontext()


class _Kernels(TorchFunctionMode):
    """Takes the place of torch's functions where it pays."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        instead = _INSTEAD.get(func)
        found = None if instead is None else instead(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found
