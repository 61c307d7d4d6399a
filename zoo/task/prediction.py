"""Interfaces for predictions, and for image regions that a model processes one by one, such as faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


class Parts(Protocol):
    """Regions detected in one image."""

    @property
    def crops(self) -> Sequence[NDArray[np.uint8]]:
        """One crop [h, w, 3], RGB, for each region; empty if no region was detected."""

    def prediction(self, answers: Sequence[Any]) -> Prediction:
        """Assemble the image's prediction from the model's outputs, one for each crop."""


class PartsFinder(Protocol):
    """Detector of regions in an image."""

    def __call__(self, image: NDArray[np.uint8], key: str) -> Parts:
        """Detect the regions in an image.

        Args:
            image: [H, W, 3], RGB.
            key: path or name of the image.

        Raises:
            ImageError: the image can't be processed. The message contains the key.
        """


class Prediction(Protocol):
    """A model's prediction for one image, as returned to users."""

    @property
    def key(self) -> str:
        """Path or name of the image."""

    def plot(self) -> PILImage:
        """Return the image with the prediction drawn on it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as a JSON-serialisable dict."""
