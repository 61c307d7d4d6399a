"""History of a training run: losses of the current epoch, best epoch, and charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.task.metric import Curve

History = Sequence[Mapping[str, Any]]  # one entry per epoch, as in metrics.jsonl
Line = tuple[Sequence[float], Sequence[float]]  # x and y
_STRETCHES = 50  # maximum number of points in the loss curve of an epoch
_X = "epoch"


@dataclass
class LossRecord:
    """Losses of the current epoch, from which its line of metrics.jsonl is computed. It is stored in every checkpoint."""

    sums: dict[str, float] = field(default_factory=dict)  # over the batches, by name of the loss
    curve: list[float] = field(default_factory=list)  # total loss of each batch
    not_finite: int = 0  # number of batches skipped because their loss wasn't finite

    @property
    def mean(self) -> float:
        """Mean total loss of the batches so far; 0 before the first batch."""
        return sum(self.sums.values()) / max(1, len(self.curve))

    def add(self, losses: dict[str, float]) -> None:
        """Add the losses of a batch, by name."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.curve.append(sum(losses.values()))

    def entry(self, batches_done: int) -> dict[str, Any]:
        """Return the epoch's entries for metrics.jsonl, with a loss curve of up to 50 means. `batches_done` counts from the run's start."""
        losses = {name: value / max(1, len(self.curve)) for name, value in self.sums.items()}
        stretches = np.array_split(np.array(self.curve), min(_STRETCHES, len(self.curve))) if self.curve else []
        ends = batches_done - len(self.curve) + np.cumsum([len(stretch) for stretch in stretches], dtype=int)
        return {
            "loss": sum(losses.values()),
            "losses": losses,
            "curve": {"batch": ends.tolist(), "loss": [float(stretch.mean()) for stretch in stretches]},
            "not_finite": self.not_finite,
        }


def score_of(entry: Mapping[str, Any], score: str) -> float | None:
    """Return the validation score of an epoch; None if there was no validation or the score is undefined on the dataset."""
    value: float | None = entry.get("val", {}).get(score)
    return value


def best_epoch(history: History, score: str) -> Mapping[str, Any] | None:
    """Return the epoch with the highest score, whose weights are kept: the last one of equals. None if there are no scores."""
    scored = [entry for entry in history if score_of(entry, score) is not None]
    return max(reversed(scored), key=lambda entry: float(entry["val"][score]), default=None)


def epochs_without_better(history: History, score: str) -> int:
    """Return the number of epochs since the highest score was first reached; 0 if the history is empty."""
    values = [-math.inf if value is None else value for value in (score_of(entry, score) for entry in history)]
    return len(values) - 1 - values.index(max(values)) if values else 0


def curves(history: History, score: str) -> Iterator[Curve]:
    """Yield charts of loss, scores and learning rate over the epochs. `score` is the name of the score used to compare epochs."""
    yield Curve("Training loss", _X, "loss", {"within epochs": _within(history), "mean of the epoch": _line(history, "loss")})
    parts = dict.fromkeys(name for entry in history for name in entry.get("losses", {}))
    if len(parts) > 1:
        yield Curve("Loss components", _X, "loss", {name: _line(history, "losses", name) for name in parts})
    names = dict.fromkeys(name for entry in history for name in entry.get("val", {}))
    if score in names:
        yield Curve(f"{score} on the validation data", _X, score, {score: _line(history, "val", score)})
    others = {name: line for name in names if name != score and _is_part(line := _line(history, "val", name))}
    if others:
        yield Curve("Other scores on the validation data", _X, "score", others)
    yield Curve("Learning rate at the end of the epoch", _X, "learning rate", {"learning rate": _line(history, "lr")})


def _within(history: History) -> Line:
    """Return the curve of mean losses over intervals of the epochs. The x-coordinate is the end of an interval, in epochs."""
    x, y = list[float](), list[float]()
    before = 0
    for entry in history:
        found = entry.get("curve", {"batch": [], "loss": []})
        batches = found["batch"][-1] - before if found["batch"] else 0
        x += [entry["epoch"] - 1 + (batch - before) / batches for batch in found["batch"]]
        y += found["loss"]
        before = found["batch"][-1] if found["batch"] else before
    return x, y


def _line(history: History, *path: str) -> Line:
    """Return the curve of a value over the epochs. `path` contains the nested keys of the value; epochs without it are omitted."""
    found: list[tuple[float, float]] = []
    for entry in history:
        value: Any = entry
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            found.append((float(entry["epoch"]), float(value)))
    return [x for x, _ in found], [y for _, y in found]


def _is_part(line: Line) -> bool:
    """Return whether all values lie in 0–1. Larger values, such as counts, would flatten the other curves of a chart."""
    return bool(line[1]) and all(0 <= value <= 1 for value in line[1])
