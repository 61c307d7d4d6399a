"""Predicted classes of one image, as yielded by `zoo.predict`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from zoo.errors import InputError
from zoo.images.drawing import caption
from zoo.task.operating import check_threshold


@dataclass(frozen=True, eq=False)
class Classification:
    """Class probabilities of one image.

    A multi-label model decides for each class independently: `labels` are then all classes whose probability is above their threshold,
    possibly none. Otherwise, the only label is the most probable class. Of two classes, a threshold may decide instead (`zoo.tune`).

    Attributes:
        key: file or name of the image.
        image: image, [H, W, 3] uint8, RGB. Large JPEGs have a reduced size, unless `zoo.predict` is called with `exact`.
        probabilities: class probabilities, [K] float32. They sum to 1, unless the model is multi-label.
        classes: class names, [K].
        thresholds: probability of each class above which a multi-label model predicts it, [K]; None for other models.
        decision: index of the positive class of two, and the probability above which it is predicted; None for other models, and for models
            without an operating point.
    """

    key: str
    image: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    thresholds: NDArray[np.float64] | None = None
    decision: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        if self.probabilities.shape != (len(self.classes),):
            raise ValueError(f"probabilities have the shape {self.probabilities.shape}; expected ({len(self.classes)},), one per class")
        if self.decision is not None and len(self.classes) != 2:
            raise ValueError(f"decision is {self.decision}, but there are {len(self.classes)} classes; expected two")
        if self.thresholds is not None and self.thresholds.shape != self.probabilities.shape:
            raise ValueError(f"thresholds have the shape {self.thresholds.shape}; expected {self.probabilities.shape}, one per class")
        self.probabilities.setflags(write=False)

    @classmethod
    def from_logits(
        cls,
        key: str,
        image: NDArray[np.uint8],
        logits: NDArray[np.float32],
        classes: tuple[str, ...],
        decision: tuple[int, float] | None = None,
    ) -> Classification:
        """Create a prediction from logits [K] by applying the softmax."""
        exponents = np.exp(logits.astype(np.float64) - logits.max())
        return cls(key, image, (exponents / exponents.sum()).astype(np.float32), classes, decision=decision)

    @property
    def label(self) -> int:
        """Index of the predicted class: the most probable one, unless a threshold decides between two."""
        if self.decision is None:
            return int(self.probabilities.argmax())
        positive, threshold = self.decision
        return positive if float(self.probabilities[positive]) > threshold else 1 - positive

    @property
    def name(self) -> str:
        """Name of the predicted class."""
        return self.classes[self.label]

    @property
    def labels(self) -> tuple[int, ...]:
        """Indices of the predicted classes, the most probable first."""
        if self.thresholds is None:
            return (self.label,)
        order = np.argsort(-self.probabilities, kind="stable")
        return tuple(int(index) for index in order if self.probabilities[index] > self.thresholds[index])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the predicted classes, the most probable first."""
        return tuple(self.classes[index] for index in self.labels)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most probable names with their probabilities, highest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def above(self, threshold: float) -> Classification:
        """Return the prediction with another threshold: for all classes of a multi-label model, or for the positive class of two.

        Raises:
            InputError: the model predicts one of several classes, or the threshold isn't from 0 to 1.
        """
        check_threshold(threshold, "threshold")
        if self.thresholds is not None:
            return replace(self, thresholds=np.full(len(self.classes), float(threshold)))
        if len(self.classes) != 2:
            raise InputError("threshold: only multi-label classifiers and those with two classes have one; omit it")
        positive = 1 if self.decision is None else self.decision[0]
        return replace(self, decision=(positive, float(threshold)))

    def plot(self) -> Image:
        """Return the image with the most probable classes, or the predicted ones of a multi-label model, written below it."""
        return caption(self.image, self.lines())

    def draw(self, picture: Image) -> Image:
        """Return `picture` unchanged: the classes are written below the image."""
        return picture

    def lines(self) -> list[str]:
        """Return the most probable classes, or the predicted ones of a multi-label model, with their probabilities."""
        shown = [(self.classes[index], float(self.probabilities[index])) for index in self.labels]
        if self.thresholds is None:  # the predicted class first, which is the most probable one unless a threshold decides
            shown = (shown + [entry for entry in self.top(3) if entry not in shown])[:3]
        return [f"{name}  {probability:.1%}" for name, probability in shown] or ["no class"]

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON-compatible values, with the five most probable classes.

        For a multi-label model, `labels`, `names` and `probabilities` are those of the predicted classes.
        """
        top = [{"name": name, "probability": probability} for name, probability in self.top(5)]
        if self.thresholds is not None:
            probabilities = [float(self.probabilities[index]) for index in self.labels]
            return {"key": self.key, "labels": list(self.labels), "names": list(self.names), "probabilities": probabilities, "top": top}
        return {"key": self.key, "label": self.label, "name": self.name, "probability": float(self.probabilities[self.label]), "top": top}
