"""How a task combines several answers for one image: of several views, and of several models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from zoo.errors import InputError, UnknownNameError

Tta = Literal["flip", "scales"]


class Combination(ABC):
    """Combination of answers, as returned by `Task.combination`; every answer has the form returned by `Answers.split`.

    A single answer is never combined: one model without test-time augmentation gives the same answers as outside an ensemble.

    Attributes:
        votes: supported ways to combine the answers of several models, the default first.
        scales: input sizes of the views of the augmentation "scales", as factors of the model's input size.
    """

    votes: ClassVar[tuple[str, ...]] = ("soft",)
    scales: ClassVar[tuple[float, ...]] = (0.875, 1.0, 1.25)

    @abstractmethod
    def recounted(self, answer: Any, new_index: Sequence[int]) -> Any:
        """Return the answer with class i renumbered to class new_index[i]."""

    @abstractmethod
    def mirrored(self, answer: Any, size_hw: tuple[int, int]) -> Any:
        """Convert the answer for a horizontally flipped image to an answer for the original image.

        Args:
            answer: answer in coordinates of the flipped image.
            size_hw: height and width of the original image, in pixels.
        """

    @abstractmethod
    def views(self, answers: Sequence[Any]) -> Any:
        """Combine the answers of one model for several views of an image."""

    @abstractmethod
    def models(self, answers: Sequence[Any], vote: str, weights: Sequence[float]) -> Any:
        """Combine the answers of several models for one image.

        Args:
            answers: one answer per model.
            vote: one of `votes`.
            weights: one weight per model, 0 or more, summing to 1; all equal unless the vote is "weighted".
        """

    def fit(self, answers: Sequence[Sequence[Any]], targets: Sequence[Any]) -> tuple[list[float], dict[str, Any]]:
        """Fit the weights for the vote "weighted".

        Args:
            answers: for each model, one answer per image.
            targets: one target per image.

        Returns:
            The weights, and details about the fit for the result, JSON-ready.
        """
        raise InputError(f"{type(self).__name__} offers the vote 'weighted' but fits no weights; implement its method fit")

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return entries that replace those of the metric's details under these augmentations; by default none."""
        return {}


def check_tta(names: Sequence[str]) -> tuple[str, ...]:
    """Return the augmentations without duplicates, in a fixed order.

    Raises:
        UnknownNameError: no such augmentation.
    """
    known = get_args(Tta)
    for name in names:
        if name not in known:
            raise UnknownNameError("test-time augmentation", name, known)
    return tuple(name for name in known if name in names)
