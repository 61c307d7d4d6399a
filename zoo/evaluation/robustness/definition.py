"""Definition of a corruption: a function of an image, constants for five severities, and a name in the registry."""

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
SMALL_SIDE, LARGE_SIDE = 32, 224  # sizes of CIFAR-10's images and ImageNet's crops, for which the constants were published


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        apply: function of an image [H, W, 3] float32 RGB in 0–1, the constants and a random generator; it returns an image of the same
            shape, whose values may be out of range.
        small: constants of the five severities for images of up to 32 pixels on the short side.
        large: constants of the five severities for images of 224 pixels or more on the short side.
    """

    apply: Apply
    small: tuple[Constants, ...]
    large: tuple[Constants, ...]

    def constants(self, severity: int, size_hw: tuple[int, int]) -> Constants:
        """Return the constants for an image size: the published ones at 32 and 224 pixels, interpolated by the log of the short side."""
        check_positive("picture", height=size_hw[0], width=size_hw[1])
        share = math.log(min(size_hw) / SMALL_SIDE) / math.log(LARGE_SIDE / SMALL_SIDE)
        share = min(1.0, max(0.0, share))
        pairs = zip(self.small[severity - 1], self.large[severity - 1], strict=True)
        return tuple(low * (1 - share) + high * share for low, high in pairs)


CORRUPTIONS: Registry[Corruption] = Registry("corruption", package="zoo.evaluation.robustness.kinds")


def single(array: NDArray[Any]) -> FloatImage:
    """Return an array as float32, typed as such; OpenCV's type hints leave the dtype open."""
    return array.astype(np.float32, copy=False)


def corruption(name: str, *, small: tuple[Constants, ...], large: tuple[Constants, ...]) -> Callable[[Apply], Apply]:
    """Return a decorator that registers a function as a corruption; see `Corruption` for the constants."""

    def add(apply: Apply) -> Apply:
        CORRUPTIONS.add(name, Corruption(apply, small, large))
        return apply

    return add


def each(*values: float) -> tuple[Constants, ...]:
    """Return the constants of five severities, one value each."""
    return tuple((value,) for value in values)
