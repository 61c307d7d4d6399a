"""Predicted classes of one image, as yielded by `zoo.predict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from zoo.images.drawing import caption


@dataclass(frozen=True, eq=False)
class Classification:
    """Class probabilities of one image.

    Attributes:
        key: file or name of the image.
        image: image, [H, W, 3] uint8, RGB. Large JPEGs have a reduced size, unless `zoo.predict` is called with `exact`.
        probabilities: class probabilities, [K] float32, summing to 1.
        classes: class names, [K].
    """

    key: str
    image: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.probabilities.shape != (len(self.classes),):
            raise ValueError(f"probabilities have the shape {self.probabilities.shape}; expected ({len(self.classes)},), one per class")
        self.probabilities.setflags(write=False)

    @classmethod
    def from_logits(cls, key: str, image: NDArray[np.uint8], logits: NDArray[np.float32], classes: tuple[str, ...]) -> Classification:
        """Create a prediction from logits [K] by applying the softmax."""
        exponents = np.exp(logits.astype(np.float64) - logits.max())
        return cls(key, image, (exponents / exponents.sum()).astype(np.float32), classes)

    @property
    def label(self) -> int:
        """Index of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """Name of the most probable class."""
        return self.classes[self.label]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most probable names with their probabilities, highest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def plot(self) -> Image:
        """Return the image with the most probable classes written below it."""
        return caption(self.image, [f"{name}  {probability:.1%}" for name, probability in self.top(3)])

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON-compatible values, with the five most probable classes."""
        top = [{"name": name, "probability": probability} for name, probability in self.top(5)]
        return {"key": self.key, "label": self.label, "name": self.name, "probability": float(self.probabilities[self.label]), "top": top}
