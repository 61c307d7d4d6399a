"""What a corruption is: a function of a picture, five sets of constants, and a name in the registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import check_positive
from zoo.registry import Registry

FloatImage = NDArray[np.float32]
Constants = tuple[float, ...]
Apply = Callable[[FloatImage, Constants, np.random.Generator], FloatImage]

SEVERITIES = (1, 2, 3, 4, 5)
SMALL_SIDE, LARGE_SIDE = 32, 224  # CIFAR-10's pictures and ImageNet's crops: what the two published tables were chosen for


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        apply: from a picture [H, W, 3] float32 RGB 0–1, the constants and a generator to the same, perhaps out of range.
        small: constants of the five severities for pictures of up to 32 pixels on the short side.
        large: those for 224 pixels and more.
    """

    apply: Apply
    small: tuple[Constants, ...]
    large: tuple[Constants, ...]

    def constants(self, severity: int, size_hw: tuple[int, int]) -> Constants:
        """Return the constants for a picture: the published ones at 32 and 224 pixels, between them by the logarithm of the short side."""
        check_positive("picture", height=size_hw[0], width=size_hw[1])
        share = math.log(min(size_hw) / SMALL_SIDE) / math.log(LARGE_SIDE / SMALL_SIDE)
        share = min(1.0, max(0.0, share))
        pairs = zip(self.small[severity - 1], self.large[severity - 1], strict=True)
        return tuple(low * (1 - share) + high * share for low, high in pairs)


CORRUPTIONS: Registry[Corruption] = Registry("corruption", package="zoo.evaluation.robustness.kinds")


def single(array: NDArray[Any]) -> FloatImage:
    """Return an array as float32; OpenCV's types only say that it is one of numbers."""
    return array.astype(np.float32, copy=False)


def corruption(name: str, *, small: tuple[Constants, ...], large: tuple[Constants, ...]) -> Callable[[Apply], Apply]:
    """Return a decorator that registers a function as a corruption; see `Corruption` for the constants."""

    def add(apply: Apply) -> Apply:
        CORRUPTIONS.add(name, Corruption(apply, small, large))
        return apply

    return add


def each(*values: float) -> tuple[Constants, ...]:
    """Return five severities of a single constant."""
    return tuple((value,) for value in values)
