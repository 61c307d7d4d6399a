"""Decisions of classifiers with two classes: the positive class is predicted if its probability is above a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.errors import InputError, UnknownNameError
from zoo.task.operating import check_threshold

Decision = tuple[int, float]  # index of the positive class, and the threshold of its probability
DEFAULT = 0.5


def decision_of(stored: Any, classes: Sequence[str]) -> Decision | None:
    """Return the decision in the metadata of a model; None if none is stored, so that the most probable class is predicted.

    Args:
        stored: the threshold by the name of the positive class, as in the metadata of a model; None for none.
        classes: class names by index.

    Raises:
        InputError: there aren't two classes, or the entry isn't a number from 0 to 1 for one of them.
    """
    if stored is None:
        return None
    if len(classes) != 2 or not isinstance(stored, Mapping) or len(stored) != 1 or not set(stored) <= set(classes):
        raise InputError(
            f"thresholds in the model's metadata: {stored!r}; expected a number for one of two classes ({', '.join(classes[:5])})"
        )
    ((name, threshold),) = stored.items()
    check_threshold(threshold, f"thresholds in the model's metadata: {name!r}")
    return [*classes].index(name), float(threshold)


def positive_class(classes: Sequence[str], asked: str | None) -> str:
    """Return the positive class of two: the second one, unless another is asked for.

    Raises:
        UnknownNameError: there is no class of this name.
        InputError: there aren't two classes.
    """
    if len(classes) != 2:
        raise InputError(
            f"a classifier that predicts one of {len(classes)} classes has no operating point: the most probable class is predicted. "
            "Thresholds need two classes, or a multi-label model"
        )
    if asked is not None and asked not in classes:
        raise UnknownNameError("positive class:", asked, classes)
    return classes[1] if asked is None else asked
