"""Registry of the key layouts of weights files: how to recognise each layout, and how to convert its keys to the zoo's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.models.weights import Weights
from zoo.registry import Registry


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
    """Convert a state dict from any known key layout to the zoo's.

    Args:
        state: the state dict.
        backbone: name of the backbone.
        origin: path of the file, or name of the weights, for messages.

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
