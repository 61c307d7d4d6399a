"""Selection of the fastest available implementations of layers for training on this processor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from zoo.kernels.batchnorm import normalise
from zoo.kernels.convolutions import convolve
from zoo.kernels.fusion import fused
from zoo.kernels.library import library

_Function = Callable[..., Any]


def has_norm_kernels(precision: str, device: torch.device) -> bool:
    """Return whether the zoo's kernels compute batch-norm with this precision on this device. They are compiled first if necessary."""
    return _applies(precision, device) and library("batch_norm") is not None


@contextlib.contextmanager
def training_kernels(model: nn.Module, precision: str, device: torch.device, norms: bool = True) -> Iterator[None]:
    """Use the fastest implementations of layers in this thread. This only has an effect in bf16 on the CPU.

    Args:
        model: model to train.
        precision: precision of autocast.
        device: device of the model.
        norms: whether to replace batch-norm as well, if there are kernels for it, together with the operations that follow it in the blocks
            of known networks.
    """
    if not _applies(precision, device):
        yield
    elif not norms or library("batch_norm") is None:
        with _Kernels({F.conv2d: convolve}):
            yield
    else:
        normaliser = _Normaliser()
        with _Kernels({F.conv2d: convolve, F.batch_norm: normaliser}), fused(model, normaliser.activate):
            yield


def _applies(precision: str, device: torch.device) -> bool:
    return precision == "bf16" and device.type == "cpu"


class _Kernels(TorchFunctionMode):
    """Replaces torch's functions with faster ones. A replacement may return None to leave the computation to torch."""

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


class _Normaliser:
    """Replaces torch's batch-norm where this is faster, fused with the sum and ReLU that follow it if they are known in advance."""

    def __init__(self) -> None:
        self._ahead: dict[str, Any] = {}  # operations to fuse with the next batch-norm, as arguments of `normalise`
        self._joined = False  # whether the last batch-norm included these operations

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """Compute `torch.nn.functional.batch_norm`, or return None if torch should do so."""
        ahead, self._ahead = self._ahead, {}
        found = normalise(*args, **{**kwargs, **ahead}) if ahead else None
        self._joined = found is not None
        return found if self._joined else normalise(*args, **kwargs)

    def activate(self, norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return relu(norm(maps) + addend); see `zoo.kernels.fusion`."""
        self._ahead, self._joined = {"relu": True, "addend": addend}, False
        try:
            answer: Tensor = norm(maps)
        finally:
            self._ahead = {}
        if self._joined:
            return answer
        return F.relu(answer if addend is None else answer.add_(addend), inplace=True)
