"""Weights in the zoo's own key names, and the registry of foreign key layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.images.preprocess import Preprocess
from zoo.registry import Registry

State = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """A set of weights in the zoo's own key names.

    Attributes:
        origin: file or name that the weights came from, for messages.
        backbone: parameters and buffers of the backbone.
        head: parameters and buffers of a task's head; empty if there is none.
        task: name of the head's task; "" if there is no head.
        num_classes: number of the user's classes that the head distinguishes.
        classes: names of the classes, if they came with the weights.
        preprocess: preprocessing of the images that the weights were trained on; None if unknown.
        norm_eps: epsilon of the batch-norms; None for the backbone's own value.
        options: task options that the head was trained with, used unless the caller sets others.
        metadata: entries of `Building.metadata` that users of the head's predictions need; they hold only for predictions made with the
            options that the weights were trained with.
        note: message for the user about the conversion; "" for none.
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


def split_prefix(state: Mapping[str, Tensor], prefix: str) -> tuple[State, State]:
    """Return the entries under a prefix, with the prefix removed, and all other entries."""
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}
