"""Faster implementations of layers in training, including fused blocks. They are used only in bf16 on the CPU.

The module of a backbone registers a fused forward function for its blocks with `fusible`: batch-norm, sum and ReLU then need only one pass
through memory. `fused` temporarily replaces the forward functions of a model's blocks with the registered ones. The model's code and
parameters don't change. A block that contains other layers than expected, or has hooks, is computed as usual.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as modules
from torch.overrides import TorchFunctionMode

from zoo.kernels.batchnorm import normalise
from zoo.kernels.convolutions import convolve
from zoo.kernels.library import is_watched, library

_Function = Callable[..., Any]
Forward = Callable[..., Any]  # arguments: the module, its input and an `Activate`
Parts = Mapping[type[nn.Module], Sequence[str]]

_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
_FUSIBLE: dict[str, tuple[Parts, Forward]] = {}


def has_norm_kernels(precision: str, device: torch.device) -> bool:
    """Return whether the zoo's kernels compute batch-norm with this precision on this device. They are compiled first if necessary."""
    return _applies(precision, device) and library("batch_norm") is not None


@contextlib.contextmanager
def training_kernels(model: nn.Module, precision: str, device: torch.device, norms: bool = True) -> Iterator[None]:
    """Use the fastest implementations of a model's layers in this thread.

    `norms` is whether to replace batch-norm as well, if there are kernels for it, together with the operations that follow it in the blocks
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
        """Return relu(norm(maps) + addend), as an `Activate`."""
        self._ahead, self._joined = {"relu": True, "addend": addend}, False
        try:
            answer: Tensor = norm(maps)
        finally:
            self._ahead = {}
        if self._joined:
            return answer
        return F.relu(answer if addend is None else answer.add_(addend), inplace=True)


class Activate(Protocol):
    """Interface of the fused normalisation that is passed to functions registered with `fusible`."""

    def __call__(self, norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return relu(norm(maps) + addend). `maps`, `addend` and the result have the shape [B, C, H, W]."""


def fusible(kind: str, parts: Parts) -> Callable[[Forward], Forward]:
    """Return a decorator that registers a fused forward function for a class of modules.

    Args:
        kind: the module and the qualified name of the class, joined by a dot; the class itself needn't be imported.
        parts: names of the submodules that the function replaces, grouped by the exact class that they must have. Submodules listed under
            `nn.Identity` may also be None.
    """

    def add(forward: Forward) -> Forward:
        _FUSIBLE[kind] = parts, forward
        return forward

    return add


class _Session:
    """Session of `fused`, active only in the thread that opened it, until it is closed. The session of a copied model is closed."""

    def __init__(self, activate: Activate | None = None) -> None:
        self.activate, self.thread = activate, threading.get_ident()

    def __reduce__(self) -> tuple[type[_Session], tuple[()]]:
        return _Session, ()

    def compute(self, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute a block with its fused function if possible, otherwise with its own forward function."""
        parts, forward = _FUSIBLE[_kind(block)]
        mine = self.activate is not None and self.thread == threading.get_ident() and not kwargs
        hooked = any(getattr(modules, name, True) for name in _GLOBAL_HOOKS)  # hooks could observe that the shortcut is computed earlier
        if mine and not hooked and not is_watched() and _holds(block, parts):
            return forward(block, *args, self.activate)
        return type(block).forward(block, *args, **kwargs)


@contextlib.contextmanager
def fused(model: nn.Module, activate: Activate) -> Iterator[None]:
    """Compute the blocks of a model with their fused functions in this thread. The previous `forward` is restored on exit."""
    session, changed = _Session(activate), {}
    try:
        for block in model.modules():
            if _kind(block) in _FUSIBLE and "forward" not in vars(block) and _is_own(type(block)):
                block.forward = changed[block] = partial(session.compute, block)
        yield
    finally:
        session.activate = None
        for block, forward in changed.items():
            if vars(block).get("forward") is forward:
                del block.forward


def _kind(block: nn.Module) -> str:
    return f"{type(block).__module__}.{type(block).__qualname__}"


def _is_own(kind: type[nn.Module]) -> bool:
    """Return whether the `forward` of a class is the one that the class defines, and not a replacement or an inherited one."""
    return (kind.forward.__module__, kind.forward.__qualname__) == (kind.__module__, f"{kind.__qualname__}.forward")


def _holds(block: nn.Module, parts: Parts) -> bool:
    """Return whether a block has all submodules that its fused function replaces, and none of them has hooks."""
    try:
        return all(_is_plain(attrgetter(name)(block), kind) for kind, names in parts.items() for name in names)
    except AttributeError:  # the block comes from another version of the library
        return False


def _is_plain(part: nn.Module | None, kind: type[nn.Module]) -> bool:
    if part is None:
        return kind is nn.Identity
    hooked = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return type(part) is kind and not hooked and "forward" not in vars(part)
