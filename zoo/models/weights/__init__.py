"""The class of weights with the zoo's key names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from zoo.images.preprocess import Preprocess

State = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """A set of weights with the zoo's key names.

    Attributes:
        origin: path of the file, or name of the weights, for messages.
        backbone: parameters and buffers of the backbone.
        head: parameters and buffers of a task's head; empty if there is none.
        task: name of the head's task; "" if there is no head.
        num_classes: number of classes of the head, without background; 0 if unknown.
        classes: names of the classes; empty if they are unknown.
        preprocess: preprocessing of the images that the weights were trained on; None if unknown.
        norm_eps: epsilon of the backbone's batch-norms; None for the backbone's default.
        options: task options that the head was trained with. The caller's values override them.
        metadata: entries of `Building.metadata` that are required to interpret predictions. They are valid only for predictions with the
            options that the weights were trained with.
        note: message to the user about the conversion; "" if there is none.
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
    """Split a state dict by a key prefix.

    Returns:
        The entries whose keys start with the prefix, with the prefix removed, and all other entries.
    """
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}
