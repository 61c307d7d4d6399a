"""The epochs of a run, as metrics.jsonl has them: which was the best, and how long ago."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

History = Sequence[Mapping[str, Any]]


def score_of(entry: Mapping[str, Any], score: str) -> float | None:
    """Return an epoch's score on the validation data; None where there was none, or none that is a number."""
    value: float | None = entry.get("val", {}).get(score)
    return value


def best_epoch(history: History, score: str) -> Mapping[str, Any] | None:
    """Return the epoch with the highest score, of several the last, which is the one that is kept; None where there is no score."""
    scored = [entry for entry in history if score_of(entry, score) is not None]
    return max(reversed(scored), key=lambda entry: float(entry["val"][score]), default=None)


def epochs_without_better(history: History, score: str) -> int:
    """Return how many epochs have not raised the score since it was first as high as it has ever been; 0 without an epoch."""
    values = [-math.inf if value is None else value for value in (score_of(entry, score) for entry in history)]
    return len(values) - 1 - values.index(max(values)) if values else 0
