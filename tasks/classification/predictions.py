"""What `zoo.predict` yields for classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from zoo.images.drawing import caption


@dataclass(frozen=True, eq=False)
class Classification:
    """One picture's classes.

    Attributes:
        key: the picture's file or name.
        image: [H, W, 3] uint8, RGB, the picture (large JPEGs at a reduced scale, unless predicted with `exact`).
        probabilities: [K] float32, summing to 1.
        classes: K names.
    """

    key: str
    image: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that names and probabilities belong together.

        Raises:
            ValueError: another number of names than of probabilities.
        """
        if self.probabilities.shape != (len(self.classes),):
            raise ValueError(f"probabilities have the shape {self.probabilities.shape}; expected ({len(self.classes)},), one per class")
        self.probabilities.setflags(write=False)

    @classmethod
    def from_logits(cls, key: str, image: NDArray[np.uint8], logits: NDArray[np.float32], classes: tuple[str, ...]) -> Classification:
        """Apply the softmax to logits [K]."""
        exponents = np.exp(logits.astype(np.float64) - logits.max())
        return cls(key, image, (exponents / exponents.sum()).astype(np.float32), classes)

    @property
    def label(self) -> int:
        """The index of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The name of the most probable class."""
        return self.classes[self.label]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most probable names with their probabilities, highest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def plot(self) -> Image:
        """Return the picture with the most probable classes written below it."""
        return caption(self.image, [f"{name}  {probability:.1%}" for name, probability in self.top(3)])

    def to_dict(self) -> dict[str, Any]:
        """Return the answer, JSON-ready: the first five classes in full."""
        top = [{"name": name, "probability": probability} for name, probability in self.top(5)]
        return {"key": self.key, "label": self.label, "name": self.name, "probability": float(self.probabilities[self.label]), "top": top}
