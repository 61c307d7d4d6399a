"""What weights are to the zoo, and the registry of foreign key layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from zoo.images.preprocess import Preprocess
from zoo.registry import Registry

State = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """A set of weights in the zoo's own key names.

    Attributes:
        origin: the file or name it came from, for messages.
        backbone: parameters and buffers of the trunk.
        head: those of a task's head; empty where there are none.
        task: the task the head belongs to; "" where there is no head.
        num_classes: the user's classes that the head distinguishes.
        classes: their names, where they came with the weights.
        preprocess: how these weights want their pictures, where they say so.
        norm_eps: the batch-norms' epsilon, where it differs from the trunk's own.
        options: the task's options that the head was made with; they hold unless the caller says otherwise.
        metadata: what users of the head's answers must know, of `Building.metadata`: it holds for answers that are given as the weights
            were trained to.
        note: what a user should be told about the conversion; "" for nothing.
    """

    origin: str
    backbone: State
    head: State = field(default_factory=dict)
    task: str = ""
    num_classes: int = 0
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    norm_eps: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """A key layout that files may have.

    Attributes:
        name: as messages call it.
        recognise: whether a state dict, meant for the named backbone, has this layout.
        convert: from its keys to the zoo's; given the state dict, the backbone's name and the origin.
    """

    name: str
    recognise: Callable[[Mapping[str, Tensor], str], bool]
    convert: Callable[[Mapping[str, Tensor], str, str], Weights]


LAYOUTS: Registry[Layout] = Registry("key layout", package="zoo.models.weights")


def split_prefix(state: Mapping[str, Tensor], prefix: str) -> tuple[State, State]:
    """Return the entries under a prefix, without it, and all the others."""
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}
