"""Definition and registry of corruptions."""

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
SMALL_SIDE, LARGE_SIDE = 32, 224  # pixels: sizes of CIFAR-10 images and ImageNet crops, for which the constants were published


@dataclass(frozen=True)
class Corruption:
    """A type of corruption.

    Attributes:
        apply: function of an image ([H, W, 3] float32, RGB, in 0–1), the constants and a random generator. It returns an image of the
            same shape; its values may lie outside 0–1.
        small: constants for severities 1 to 5, for images of up to 32 pixels on the short side.
        large: constants for severities 1 to 5, for images of 224 pixels or more on the short side.
    """

    apply: Apply
    small: tuple[Constants, ...]
    large: tuple[Constants, ...]

    def constants(self, severity: int, size_hw: tuple[int, int]) -> Constants:
        """Return the constants for an image size. Between 32 and 224 pixels, they are interpolated by the logarithm of the short side."""
        check_positive("image", height=size_hw[0], width=size_hw[1])
        share = math.log(min(size_hw) / SMALL_SIDE) / math.log(LARGE_SIDE / SMALL_SIDE)
        share = min(1.0, max(0.0, share))
        pairs = zip(self.small[severity - 1], self.large[severity - 1], strict=True)
        return tuple(low * (1 - share) + high * share for low, high in pairs)


CORRUPTIONS: Registry[Corruption] = Registry("corruption", package="zoo.evaluation.robustness.kinds")


def single(array: NDArray[Any]) -> FloatImage:
    """Return the array as float32, with a precise type; OpenCV's type hints don't specify the dtype."""
    return array.astype(np.float32, copy=False)


def corruption(name: str, *, small: tuple[Constants, ...], large: tuple[Constants, ...]) -> Callable[[Apply], Apply]:
    """Return a decorator that registers a function as a corruption. For `small` and `large`, see `Corruption`."""

    def add(apply: Apply) -> Apply:
        CORRUPTIONS.add(name, Corruption(apply, small, large))
        return apply

    return add


def each(*values: float) -> tuple[Constants, ...]:
    """Return the constants for severities 1 to 5, given a single value for each severity."""
    return tuple((value,) for value in values)
