"""Lines of the charts in reports."""

from __future__ import annotations

import numpy as np

from zoo.tasks.classification.scores import Floats

LINES = 12  # maximum number of classes with one line each in a curve; more would be unreadable
_POINTS = 200  # maximum number of points per line


def thinned(x: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """Return the points of a line as lists, thinned to at most 200."""
    shown = np.unique(np.linspace(0, len(x) - 1, _POINTS).astype(int))
    return x[shown].tolist(), y[shown].tolist()
