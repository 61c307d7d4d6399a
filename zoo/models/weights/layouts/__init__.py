"""Weights with the zoo's key names, the registry of the key layouts of weights files, and the conversion from any of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from zoo.backbones import BACKBONES, Licence
from zoo.errors import WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.weights.architectures import architecture
from zoo.models.weights.heads import with_classifier
from zoo.models.weights.prefixes import find
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
    published: Licence | None = None  # licence of the published weights that those of a file seem to be; None if unknown
    hub: Mapping[str, str] | None = None  # repository and commit of the Hub; None for other weights


def split_prefix(state: Mapping[str, Tensor], prefix: str) -> tuple[State, State]:
    """Return the entries of a state dict whose keys start with a prefix, with the prefix removed, and all other entries."""
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}


@functools.cache
def backbone_shapes(backbone: str) -> dict[str, torch.Size]:
    """Return the shapes of all parameters and buffers of a backbone, by its own key names."""
    with torch.device("meta"):
        return {key: value.shape for key, value in BACKBONES[backbone].create().state_dict().items()}


@dataclass(frozen=True)
class Layout:
    """Key layout of weights files."""

    name: str  # for messages
    family: str  # start of the family of the backbones whose files have this layout; "" for all backbones
    key: Callable[[str], str]  # from a backbone's own key to that of the layout
    convert: Callable[[Mapping[str, Tensor], str, str], Weights]  # from a state dict, the name of a backbone and the origin of the weights
    classifier: bool = False  # whether the head is a linear classifier, which may stand beside the backbone's prefix

    def shapes(self, backbone: str) -> dict[str, torch.Size]:
        """Return the shapes of the backbone's weights by the keys of this layout; none for a backbone of another family."""
        if not BACKBONES[backbone].family.startswith(self.family):
            return {}
        return {self.key(key): shape for key, shape in backbone_shapes(backbone).items()}


LAYOUTS: Registry[Layout] = Registry("key layout", package="zoo.models.weights.layouts")


def without_net(key: str) -> str:
    """Return the key without the name under which some backbones hold the network of another library."""
    return key.removeprefix("net.")


def convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    """Convert a state dict from any known key layout to the zoo's. `origin` is the path of the file, or the name of the weights.

    The weights are found under any prefix, which wrappers, trainers and checkpoints put before the keys; see `prefixes.find`.
    """
    layouts = {name: LAYOUTS[name] for name in LAYOUTS}
    found = find(state, {name: layout.shapes(backbone) for name, layout in layouts.items()}, origin)
    if found is None:
        what = architecture(state)
        some = ", ".join(list(state)[:4])
        raise WeightsError(
            f"weights {origin}: the keys ({some}, …) match no known layout for the backbone {backbone!r}. "
            + (f"The file contains {what}. " if what else "")
            + f"Known: {', '.join(layout.name for layout in layouts.values())}. Are these weights for a different backbone?"
        )
    layout = layouts[found.layout]
    if layout.classifier:
        found = with_classifier(found, layout.shapes(backbone), BACKBONES[backbone].levels[-1].channels)
    weights = layout.convert(found.state, backbone, origin)
    return replace(weights, note="; ".join(note for note in (*found.notes, weights.note) if note))
