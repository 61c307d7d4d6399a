"""Fusion of batch-norm, sum and ReLU in training, for the blocks of known networks, so that they need only one pass through memory.

The module of a backbone registers a fused forward function for its blocks with `fusible`. `fused` temporarily replaces the forward
functions of a model's blocks with the registered ones. The model's code and parameters don't change. A block that contains other layers
than expected, or has hooks, is computed as usual.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.modules import module as modules

from zoo.kernels.library import is_watched


class Activate(Protocol):
    """Interface of the fused normalisation that is passed to functions registered with `fusible`."""

    def __call__(self, norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return relu(norm(maps) + addend). `maps`, `addend` and the result have the shape [B, C, H, W]."""


Forward = Callable[..., Any]  # arguments: the module, its input and an `Activate`
Parts = Mapping[type[nn.Module], Sequence[str]]

_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
_FUSIBLE: dict[str, tuple[Parts, Forward]] = {}


def fusible(kind: str, parts: Parts) -> Callable[[Forward], Forward]:
    """Return a decorator that registers a fused forward function for a class of modules.

    The decorated function receives the module, its input and an `Activate`.

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
    """Session of `fused`, active only in the thread that opened it and until it is closed.

    Copying a model also copies the session. Such a copy is closed from the start.
    """

    def __init__(self, activate: Activate | None = None) -> None:
        self.activate, self.thread = activate, threading.get_ident()

    def __reduce__(self) -> tuple[type[_Session], tuple[()]]:
        return _Session, ()

    def compute(self, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute a block with its fused function if possible, otherwise with its own forward function.

        A block is not fused if hooks could observe it, because the fused function computes the shortcut earlier.
        """
        parts, forward = _FUSIBLE[_kind(block)]
        mine = self.activate is not None and self.thread == threading.get_ident() and not kwargs
        hooked = any(getattr(modules, name, True) for name in _GLOBAL_HOOKS)
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
