"""How a task combines several predictions for one image, made from several views or by several models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from zoo.errors import InputError, UnknownNameError

Tta = Literal["flip", "scales"]


class Combination(ABC):
    """Method of combining predictions, returned by `Task.combination`. Predictions have the format of `Answers.split`.

    A single prediction is never combined, so one model without test-time augmentation predicts the same inside and outside an ensemble.

    Attributes:
        votes: supported methods of combining the predictions of several models, the default first.
        scales: input sizes that the augmentation "scales" uses, as factors of the model's input size.
    """

    votes: ClassVar[tuple[str, ...]] = ("soft",)
    scales: ClassVar[tuple[float, ...]] = (0.875, 1.0, 1.25)

    @abstractmethod
    def recounted(self, answer: Any, new_index: Sequence[int]) -> Any:
        """Return the prediction with class i renumbered to class new_index[i]."""

    @abstractmethod
    def mirrored(self, answer: Any, size_hw: tuple[int, int]) -> Any:
        """Convert the prediction for a horizontally flipped image to a prediction for the original image.

        Args:
            answer: prediction in coordinates of the flipped image.
            size_hw: height and width of the original image, in pixels.
        """

    @abstractmethod
    def views(self, answers: Sequence[Any]) -> Any:
        """Combine the predictions of one model for several views of an image."""

    @abstractmethod
    def models(self, answers: Sequence[Any], vote: str, weights: Sequence[float]) -> Any:
        """Combine the predictions of several models for one image.

        Args:
            answers: one prediction per model.
            vote: one of `votes`.
            weights: one non-negative weight per model. They sum to 1 and are equal unless the vote is "weighted".
        """

    def fit(self, answers: Sequence[Sequence[Any]], targets: Sequence[Any]) -> tuple[list[float], dict[str, Any]]:
        """Fit the weights for the vote "weighted".

        Args:
            answers: predictions, indexed by model and then by image.
            targets: one target per image.

        Returns:
            The weights, and a JSON-serialisable description of the fit for the evaluation result.
        """
        raise InputError(f"{type(self).__name__} lists the vote 'weighted' but doesn't implement fit; implement it")

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return entries that override the metric's details when these augmentations are used. Empty by default."""
        return {}


def check_tta(names: Sequence[str]) -> tuple[str, ...]:
    """Return the augmentations without duplicates, in a fixed order; an unknown one raises an `UnknownNameError`."""
    known = get_args(Tta)
    for name in names:
        if name not in known:
            raise UnknownNameError("test-time augmentation", name, known)
    return tuple(name for name in known if name in names)
