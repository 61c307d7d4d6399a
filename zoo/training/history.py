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
    counts: dict[str, int] = field(default_factory=dict)  # number of batches that had this loss, by its name
    curve: list[float] = field(default_factory=list)  # total loss of each batch
    not_finite: int = 0  # number of batches skipped because their loss wasn't finite

    @property
    def mean(self) -> float:
        """Sum of the mean losses of the batches so far; 0 before the first batch."""
        if all(count == len(self.curve) for count in self.counts.values()):
            return sum(self.sums.values()) / max(1, len(self.curve))
        return sum(self._means().values())

    def _means(self) -> dict[str, float]:
        """Return the mean of each loss over the batches that had it. Batches that train other heads don't have the loss of a head."""
        return {name: value / self.counts[name] for name, value in self.sums.items()}

    def add(self, losses: dict[str, float]) -> None:
        """Add the losses of a batch, by name."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.curve.append(sum(losses.values()))

    def entry(self, batches_done: int) -> dict[str, Any]:
        """Return the epoch's entries for metrics.jsonl, with a loss curve of up to 50 means. `batches_done` counts from the run's start."""
        losses = self._means()
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


def best_epoch(history: History, score: str | Sequence[str]) -> Mapping[str, Any] | None:
    """Return the epoch whose weights are kept: the last one with the highest score. None if there are no scores.

    Args:
        history: the epochs.
        score: name of the score by which epochs are compared. With several heads, a sequence of scores. An epoch then replaces the kept one
            if the mean of its ranks for these scores, among all epochs so far, is at most that of the kept one. The best epoch for a score
            has rank 1, epochs with equal scores have equal ranks, and an undefined score ranks last.
    """
    names = [score] if isinstance(score, str) else [*score]
    scored = [entry for entry in history if max(_values(entry, names), default=-math.inf) > -math.inf]
    return scored[_kept(scored, names, strict=False)] if scored else None


def epochs_without_better(history: History, score: str | Sequence[str]) -> int:
    """Return the number of epochs since the best result was first reached; 0 if the history is empty.

    `score` is that of `best_epoch`. With several scores, the mean rank must be lower than that of the best epoch before.
    """
    names = [score] if isinstance(score, str) else [*score]
    return len(history) - 1 - _kept(history, names, strict=True) if history else 0


def _kept(history: History, names: Sequence[str], strict: bool) -> int:
    """Return the index of the best epoch; see `best_epoch`. If `strict`, an epoch with the same mean rank doesn't replace the kept one."""
    values = [_values(entry, names) for entry in history]
    kept = 0
    for new in range(1, len(values)):
        # the sum of the ranks, each 1 + the number of epochs with a higher score
        ranks = {
            place: sum(1 + sum(other[column] > value for other in values[: new + 1]) for column, value in enumerate(values[place]))
            for place in (new, kept)
        }
        if ranks[new] < ranks[kept] or (ranks[new] == ranks[kept] and not strict):
            kept = new
    return kept


def _values(entry: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """Return the scores of an epoch, with minus infinity for those that are undefined."""
    values = [score_of(entry, name) for name in names]
    return [-math.inf if value is None or math.isnan(value) else value for value in values]


def curves(history: History, score: str | Sequence[str]) -> Iterator[Curve]:
    """Yield charts of loss, scores and learning rate over the epochs. `score` is that of `best_epoch`."""
    yield Curve("Training loss", _X, "loss", {"within epochs": _within(history), "mean of the epoch": _line(history, "loss")})
    parts = dict.fromkeys(name for entry in history for name in entry.get("losses", {}))
    if len(parts) > 1:
        yield Curve("Loss components", _X, "loss", {name: _line(history, "losses", name) for name in parts})
    learned = dict.fromkeys(name for entry in history for name in entry.get("log_variances", {}))
    if learned:
        lines = {name: _line(history, "log_variances", name) for name in learned}
        yield Curve("Learned log-variances of the losses", _X, "log-variance", lines)
    names = dict.fromkeys(name for entry in history for name in entry.get("val", {}))
    for primary in [score] if isinstance(score, str) else score:
        if primary in names:
            yield Curve(f"{primary} on the validation data", _X, primary, {primary: _line(history, "val", primary)})
        head = primary.rpartition("/")[0]
        own = [name for name in names if name != primary and name.rpartition("/")[0] == head]
        others = {name: line for name in own if _is_part(line := _line(history, "val", name))}
        if others:
            title = f"Other scores of {head}" if head else "Other scores"
            yield Curve(f"{title} on the validation data", _X, "score", others)
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
