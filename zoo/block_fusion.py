"""Blocks of known networks, whose batch-norm, sum and ReLU are one pass through memory in training, where there are kernels for it.

A backbone's module says of its blocks, by `fusible`, what they compute; `fused` lets those of a model compute so for a while. The model's
code and parameters stay as they are: a block that has anything else in it, or that somebody watches by hooks, is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.modules import module as modules

from zoo.batch_norm import is_watched


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


@contextlib.contextmanager
def fused(model: nn.Module, activate: Activate) -> Iterator[None]:
    """Let the blocks of a model compute by their fused functions; afterwards they are as they were.

    Args:
        model: its modules' `forward` is replaced.
        activate: see `Activate`.
    """
    changed = []
    try:
        for block in () if _all_are_watched() else model.modules():
            parts, forward = _FUSIBLE.get(f"{type(block).__module__}.{type(block).__qualname__}", ({}, None))
            if forward is not None and "forward" not in vars(block) and _holds(block, parts):
                block.forward = partial(_compute, forward, block, activate)
                changed.append(block)
        yield
    finally:
        for block in changed:
            del block.forward


def _compute(forward: Forward, block: nn.Module, activate: Activate, *args: Any) -> Any:
    """Compute a block by its function, or as it is where that has to be seen: the function computes the shortcut earlier."""
    return type(block).forward(block, *args) if is_watched() else forward(block, *args, activate)


def _all_are_watched() -> bool:
    """Tell whether there are hooks for every module there is."""
    hooks = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
    return any(getattr(modules, name, True) for name in hooks)


def _holds(block: nn.Module, parts: Parts) -> bool:
    """Tell whether a block has what its function stands for, and nobody watches that."""
    return all(_is_plain(attrgetter(name)(block), kind) for kind, names in parts.items() for name in names)


def _is_plain(part: nn.Module | None, kind: type[nn.Module]) -> bool:
    if part is None:
        return kind is nn.Identity
    watched = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return type(part) is kind and not watched and "forward" not in vars(part)
