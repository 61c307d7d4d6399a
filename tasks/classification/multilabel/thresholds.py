"""Thresholds: the probability of each class above which a model predicts the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError

KEY = "thresholds"  # entry of the metadata: probabilities by class name, or None for the default
DEFAULT = 0.5


def stored_thresholds(metadata: Sequence[Mapping[str, Any]]) -> Any:
    """Return the thresholds in the metadata of several models if all of them are equal, otherwise None, which means the default."""
    found = [each.get(KEY) for each in metadata]
    return found[0] if found and all(each == found[0] for each in found) else None


def as_thresholds(stored: Any, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the threshold of each class, [K].

    Args:
        stored: probabilities by class name, as in the metadata of a model; None for 0.5.
        classes: class names by index.

    Raises:
        InputError: a class has no threshold, a threshold is for no class, or isn't a number from 0 to 1.
    """
    if stored is None:
        return np.full(len(classes), DEFAULT)
    if not isinstance(stored, Mapping) or set(stored) != set(classes):
        given = set(stored) if isinstance(stored, Mapping) else set()
        differing = {"missing": [name for name in classes if name not in given], "unknown": sorted(given - set(classes))}
        raise InputError(
            f"thresholds in the model's metadata: expected a number for each of its {len(classes)} classes, by name"
            + "".join(f"; {what}: {', '.join(names[:5])}" for what, names in differing.items() if names)
        )
    for name, value in stored.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"thresholds in the model's metadata: {name!r} is {value!r}; expected a probability from 0 to 1")
    return np.array([stored[name] for name in classes], np.float64)
