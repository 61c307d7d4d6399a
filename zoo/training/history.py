"""The losses of the epoch in hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_STRETCHES = 50  # points of an epoch's curve, at most


@dataclass
class LossRecord:
    """What an epoch's line of metrics.jsonl says of losses; part of every checkpoint.

    Attributes:
        sums: of each named loss, over the batches.
        curve: the total loss of each batch.
        not_finite: batches left out because their loss was not a number.
    """

    sums: dict[str, float] = field(default_factory=dict)
    curve: list[float] = field(default_factory=list)
    not_finite: int = 0

    @property
    def mean(self) -> float:
        """The mean loss so far; 0 before the first batch."""
        return sum(self.sums.values()) / max(1, len(self.curve))

    def add(self, losses: dict[str, float]) -> None:
        """Count a batch."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.curve.append(sum(losses.values()))

    def entry(self, batches_done: int) -> dict[str, Any]:
        """Return means over the epoch, and the curve as means over at most 50 stretches of it.

        Args:
            batches_done: of the whole run: where the curve ends.
        """
        losses = {name: value / max(1, len(self.curve)) for name, value in self.sums.items()}
        stretches = np.array_split(np.array(self.curve), min(_STRETCHES, len(self.curve))) if self.curve else []
        ends = batches_done - len(self.curve) + np.cumsum([len(stretch) for stretch in stretches], dtype=int)
        return {
            "loss": sum(losses.values()),
            "losses": losses,
            "curve": {"batch": ends.tolist(), "loss": [float(stretch.mean()) for stretch in stretches]},
            "not_finite": self.not_finite,
        }


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
