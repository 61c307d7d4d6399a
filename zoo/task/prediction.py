"""Parts of a picture that a model answers for one by one, such as the faces in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


class Parts(Protocol):
    """What was found in one picture."""

    @property
    def crops(self) -> Sequence[NDArray[np.uint8]]:
        """A picture [h, w, 3] of each part, RGB; none where nothing was found."""

    def prediction(self, answers: Sequence[Any]) -> Prediction:
        """Put together what people get, from the model's answer for each crop."""


class PartsFinder(Protocol):
    """Finds the parts of a picture."""

    def __call__(self, image: NDArray[np.uint8], key: str) -> Parts:
        """Look at a picture [H, W, 3], RGB, that came from `key`.

        Raises:
            ImageError: naming the key; no parts can be made of it.
        """


class Prediction(Protocol):
    """One picture's answer, for people and programs."""

    @property
    def key(self) -> str:
        """Where the picture came from."""

    def plot(self) -> PILImage:
        """Draw the answer on the picture."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer, JSON-ready."""
