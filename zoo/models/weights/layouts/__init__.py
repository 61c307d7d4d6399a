"""Key layouts of weights files: how to recognise each, and how its keys are converted to the zoo's; one `LAYOUTS.add` per layout."""

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
        recognise: function that takes a state dict and a backbone's name, and returns whether the state dict has this layout.
        convert: function that takes a state dict, a backbone's name and the origin, and returns weights in the zoo's key names.
    """

    name: str
    recognise: Callable[[Mapping[str, Tensor], str], bool]
    convert: Callable[[Mapping[str, Tensor], str, str], Weights]


LAYOUTS: Registry[Layout] = Registry("key layout", package="zoo.models.weights.layouts")


def recognises(family: str, *keys: str) -> Callable[[Mapping[str, Tensor], str], bool]:
    """Return a `Layout.recognise` for backbones of a family, whose state dicts contain these keys."""
    return lambda state, backbone: BACKBONES[backbone].family == family and state.keys() >= set(keys)


def convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    """Convert a state dict from any known key layout to the zoo's; `origin` is the file or name of the weights, for messages."""
    layouts = [LAYOUTS[name] for name in LAYOUTS]
    for layout in layouts:
        if layout.recognise(state, backbone):
            return layout.convert(state, backbone, origin)
    some = ", ".join(list(state)[:4])
    raise WeightsError(
        f"weights {origin}: the keys ({some}, …) match no known layout for the backbone {backbone!r}. "
        f"Known: {', '.join(layout.name for layout in layouts)}. Are these the weights of another backbone?"
    )
