"""Blocks of known networks, whose batch-norm, sum and ReLU are one pass through memory in training, where there are kernels for it.

A backbone's module says of its blocks, by `fusible`, what they compute; `fused` lets those of a model compute so for a while. The model's
code and parameters stay as they are: a block that has anything else in it, or that somebody watches by hooks, is left alone.
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
    """What `fusible` functions normalise with."""

    def __call__(self, norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return relu(norm(maps) + addend): [B, C, H, W], as both are."""


Forward = Callable[..., Any]  # of the module, its input and an `Activate`
Parts = Mapping[type[nn.Module], Sequence[str]]

_FUSIBLE: dict[str, tuple[Parts, Forward]] = {}


def fusible(kind: str, parts: Parts) -> Callable[[Forward], Forward]:
    """Return a decorator for the function that computes what modules of a class do in training, by an `Activate`.

    Args:
        kind: the class, by its module and name: it needn't be imported for this.
        parts: names of what the function stands for, by the very class that each has to have; what may be missing, too, has to be an
            `nn.Identity`.
    """

    def add(forward: Forward) -> Forward:
        _FUSIBLE[kind] = parts, forward
        return forward

    return add


class _Session:
    """One use of `fused`: it counts in its own thread, while it is open; a copy of it, in a copy of a model, is closed."""

    def __init__(self, activate: Activate | None = None) -> None:
        self.activate, self.thread = activate, threading.get_ident()

    def __reduce__(self) -> tuple[type[_Session], tuple[()]]:
        return _Session, ()

    def compute(self, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute a block by its function; or as it is, where that has to be seen: the function computes the shortcut earlier."""
        parts, forward = _FUSIBLE[_kind(block)]
        mine = self.activate is not None and self.thread == threading.get_ident() and not kwargs
        if mine and not is_watched() and not _all_are_hooked() and _holds(block, parts):
            return forward(block, *args, self.activate)
        return type(block).forward(block, *args, **kwargs)


@contextlib.contextmanager
def fused(model: nn.Module, activate: Activate) -> Iterator[None]:
    """Let the blocks of a model compute by their fused functions, in this thread; afterwards they are as they were.

    Args:
        model: its modules' `forward` is replaced.
        activate: see `Activate`.
    """
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
    """Tell whether a class computes by its own function, and not by one that somebody has put in its place."""
    return (kind.forward.__module__, kind.forward.__qualname__) == (kind.__module__, f"{kind.__qualname__}.forward")


def _all_are_hooked() -> bool:
    """Tell whether there are hooks for every module there is."""
    hooks = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
    return any(getattr(modules, name, True) for name in hooks)


def _holds(block: nn.Module, parts: Parts) -> bool:
    """Tell whether a block has what its function stands for, and nobody watches that."""
    try:
        return all(_is_plain(attrgetter(name)(block), kind) for kind, names in parts.items() for name in names)
    except AttributeError:  # an older block, or another's
        return False


def _is_plain(part: nn.Module | None, kind: type[nn.Module]) -> bool:
    if part is None:
        return kind is nn.Identity
    hooked = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return type(part) is kind and not hooked and "forward" not in vars(part)
