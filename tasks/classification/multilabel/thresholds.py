"""Thresholds: the probability of each class above which a model predicts the class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.operating import as_thresholds

DEFAULT = 0.5


def label_thresholds(stored: Any, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the threshold of each class, [K]: the stored ones, or 0.5 if none are stored. See `zoo.task.operating.as_thresholds`."""
    found = as_thresholds(stored, classes)
    return np.full(len(classes), DEFAULT) if found is None else found
