"""Interfaces of predictions, and of the image parts that a model answers for one by one, such as faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


class Parts(Protocol):
    """The parts found in one image."""

    @property
    def crops(self) -> Sequence[NDArray[np.uint8]]:
        """One crop [h, w, 3], RGB, per part; empty if none was found."""

    def prediction(self, answers: Sequence[Any]) -> Prediction:
        """Assemble the image's prediction from the model's answer for each crop."""


class PartsFinder(Protocol):
    """Detector of the parts of an image."""

    def __call__(self, image: NDArray[np.uint8], key: str) -> Parts:
        """Return the parts of an image.

        Args:
            image: [H, W, 3], RGB.
            key: path or name of the image.

        Raises:
            ImageError: the image can't be processed; the message names the key.
        """


class Prediction(Protocol):
    """A model's answer for one image, for users and programs."""

    @property
    def key(self) -> str:
        """Path or name of the image."""

    def plot(self) -> PILImage:
        """Draw the answer on the image."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer, JSON-ready."""
