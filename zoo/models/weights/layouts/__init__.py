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
    """A set of weights with the zoo's key names."""

    origin: str  # path of the file, or name of the weights, for messages
    backbone: State
    head: State = field(default_factory=dict)  # empty if the file has no head
    task: str = ""  # task of the head
    num_classes: int = 0  # classes of the head, without background; 0 if unknown
    classes: tuple[str, ...] = ()  # names of the classes; empty if unknown
    preprocess: Preprocess | None = None  # of the images that the weights were trained on; None if unknown
    norm_eps: float | None = None  # epsilon of the backbone's batch-norms; None for the backbone's default
    options: Mapping[str, Any] = field(default_factory=dict)  # task options that the head was trained with
    metadata: Mapping[str, Any] = field(default_factory=dict)  # entries of `Building.metadata`, valid only with these options
    note: str = ""  # message to the user about the conversion


def split_prefix(state: Mapping[str, Tensor], prefix: str) -> tuple[State, State]:
    """Return the entries of a state dict whose keys start with a prefix, with the prefix removed, and all other entries."""
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}


@dataclass(frozen=True)
class Layout:
    """Key layout of weights files."""

    name: str  # for messages
    recognise: Callable[[Mapping[str, Tensor], str], bool]  # whether a state dict for the named backbone has this layout
    convert: Callable[[Mapping[str, Tensor], str, str], Weights]  # from a state dict, the name of a backbone and the origin of the weights


LAYOUTS: Registry[Layout] = Registry("key layout", package="zoo.models.weights.layouts")


def recognises(family: str, *keys: str) -> Callable[[Mapping[str, Tensor], str], bool]:
    """Return a function for `Layout.recognise` that checks the family of the backbone and the presence of these keys."""
    return lambda state, backbone: BACKBONES[backbone].family == family and state.keys() >= set(keys)


def convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    """Convert a state dict from any known key layout to the zoo's. `origin` is the path of the file, or the name of the weights."""
    layouts = [LAYOUTS[name] for name in LAYOUTS]
    for layout in layouts:
        if layout.recognise(state, backbone):
            return layout.convert(state, backbone, origin)
    some = ", ".join(list(state)[:4])
    raise WeightsError(
        f"weights {origin}: the keys ({some}, …) match no known layout for the backbone {backbone!r}. "
        f"Known: {', '.join(layout.name for layout in layouts)}. Are these weights for a different backbone?"
    )
