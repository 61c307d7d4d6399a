"""How a task brings several answers for one picture together: of views of the picture, and of several models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from zoo.errors import InputError, UnknownNameError

Tta = Literal["flip", "scales"]


class Combination(ABC):
    """What `Task.combination` returns; every answer has the form that `Answers.split` gives.

    A single answer is never combined: one model without test-time augmentation answers as it does alone.

    Attributes:
        votes: how answers of several models may be combined, the default first.
        scales: sizes of the views of `scales`, as parts of the model's own.
    """

    votes: ClassVar[tuple[str, ...]] = ("soft",)
    scales: ClassVar[tuple[float, ...]] = (0.875, 1.0, 1.25)

    @abstractmethod
    def recounted(self, answer: Any, new_index: Sequence[int]) -> Any:
        """Return the answer with class i counted as class new_index[i]."""

    @abstractmethod
    def mirrored(self, answer: Any, size_hw: tuple[int, int]) -> Any:
        """Return the answer to a picture that was mirrored left to right, as it would be for the picture itself.

        Args:
            answer: in the coordinates of the mirrored picture.
            size_hw: height and width of the original picture, in pixels.
        """

    @abstractmethod
    def views(self, answers: Sequence[Any]) -> Any:
        """Return one answer out of those of one model to several views of a picture."""

    @abstractmethod
    def models(self, answers: Sequence[Any], vote: str, weights: Sequence[float]) -> Any:
        """Return one answer out of those of several models.

        Args:
            answers: one per model.
            vote: one of `votes`.
            weights: one per model, not negative, 1 together; equal ones unless the vote is "weighted".
        """

    def fit(self, answers: Sequence[Sequence[Any]], targets: Sequence[Any]) -> tuple[list[float], dict[str, Any]]:
        """Return the weights for the vote "weighted", and what a result says about them, JSON-ready.

        Args:
            answers: per model one answer for each picture.
            targets: of the pictures.
        """
        raise InputError(f"{type(self).__name__} offers the vote 'weighted' but fits no weights; implement its method fit")

    def details(self, tta: Sequence[str]) -> dict[str, Any]:
        """Return what replaces entries of the metric's details under these augmentations: nothing."""
        return {}


def check_tta(names: Sequence[str]) -> tuple[str, ...]:
    """Return the augmentations, each once, in a fixed order.

    Raises:
        UnknownNameError: no such augmentation.
    """
    known = get_args(Tta)
    for name in names:
        if name not in known:
            raise UnknownNameError("test-time augmentation", name, known)
    return tuple(name for name in known if name in names)
