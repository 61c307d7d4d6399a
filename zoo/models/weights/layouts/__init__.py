"""Weights with the zoo's key names, and the registry of the key layouts of weights files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.images.preprocess import Preprocess
from zoo.registry import Registry

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
    """Return the entries of a state dict whose keys start with a prefix, with the prefix removed, and all other entries."""
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}


@dataclass(frozen=True)
class Layout:
    """Key layout of weights files.

    Attributes:
        name: name of the layout in messages.
        recognise: function that receives a state dict and the name of a backbone, and returns whether the state dict has this layout.
        convert: function that receives a state dict, the name of a backbone and the origin of the weights, and returns the weights with the
            zoo's key names.
    """

    name: str
    recognise: Callable[[Mapping[str, Tensor], str], bool]
    convert: Callable[[Mapping[str, Tensor], str, str], Weights]


LAYOUTS: Registry[Layout] = Registry("key layout", package="zoo.models.weights.layouts")


def recognises(family: str, *keys: str) -> Callable[[Mapping[str, Tensor], str], bool]:
    """Return a function for `Layout.recognise` that checks the family of the backbone and the presence of these keys."""
    return lambda state, backbone: BACKBONES[backbone].family == family and state.keys() >= set(keys)


def convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    """Convert a state dict from any known key layout to the zoo's. `origin` is the path of the file, or the name of the weights.

    Raises:
        WeightsError: no layout matches.
    """
    layouts = [LAYOUTS[name] for name in LAYOUTS]
    for layout in layouts:
        if layout.recognise(state, backbone):
            return layout.convert(state, backbone, origin)
    some = ", ".join(list(state)[:4])
    raise WeightsError(
        f"weights {origin}: the keys ({some}, …) match no known layout for the backbone {backbone!r}. "
        f"Known: {', '.join(layout.name for layout in layouts)}. Are these weights for a different backbone?"
    )
