"""Fusion of batch-norm, sum and ReLU in blocks of known networks into one pass through memory in training, if there are kernels for it.

The module of a backbone registers with `fusible` what its blocks compute; `fused` temporarily makes the blocks of a model compute it this
way. The model's code and parameters don't change: a block with other layers, or with hooks, is computed as usual.
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
    """The normalisation that is passed to `fusible` functions."""

    def __call__(self, norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return relu(norm(maps) + addend): [B, C, H, W], as are `maps` and `addend`."""


Forward = Callable[..., Any]  # arguments: the module, its input and an `Activate`
Parts = Mapping[type[nn.Module], Sequence[str]]

_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
_FUSIBLE: dict[str, tuple[Parts, Forward]] = {}


def fusible(kind: str, parts: Parts) -> Callable[[Forward], Forward]:
    """Return a decorator for the function that computes a class of modules in training through an `Activate`.

    The class is given as module and qualified name, so that it needn't be imported. `parts` are the names of the submodules that the
    function replaces, by the exact class that they must have; those of `nn.Identity` may also be None.
    """

    def add(forward: Forward) -> Forward:
        _FUSIBLE[kind] = parts, forward
        return forward

    return add


class _Session:
    """One use of `fused`, effective in its thread until it is closed; a copy, made with a copy of the model, is closed."""

    def __init__(self, activate: Activate | None = None) -> None:
        self.activate, self.thread = activate, threading.get_ident()

    def __reduce__(self) -> tuple[type[_Session], tuple[()]]:
        return _Session, ()

    def compute(self, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute a block by its function, or as usual if it must be observable: the function computes the shortcut earlier."""
        parts, forward = _FUSIBLE[_kind(block)]
        mine = self.activate is not None and self.thread == threading.get_ident() and not kwargs
        hooked = any(getattr(modules, name, True) for name in _GLOBAL_HOOKS)
        if mine and not hooked and not is_watched() and _holds(block, parts):
            return forward(block, *args, self.activate)
        return type(block).forward(block, *args, **kwargs)


@contextlib.contextmanager
def fused(model: nn.Module, activate: Activate) -> Iterator[None]:
    """Make the blocks of a model compute by their fused functions in this thread; the previous `forward` is restored on exit."""
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
    """Return whether a class computes by the function that it defines, not by a patched one."""
    return (kind.forward.__module__, kind.forward.__qualname__) == (kind.__module__, f"{kind.__qualname__}.forward")


def _holds(block: nn.Module, parts: Parts) -> bool:
    """Return whether a block has the parts that its function replaces, without hooks."""
    try:
        return all(_is_plain(attrgetter(name)(block), kind) for kind, names in parts.items() for name in names)
    except AttributeError:  # a block of another version or library
        return False


def _is_plain(part: nn.Module | None, kind: type[nn.Module]) -> bool:
    if part is None:
        return kind is nn.Identity
    hooked = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return type(part) is kind and not hooked and "forward" not in vars(part)
