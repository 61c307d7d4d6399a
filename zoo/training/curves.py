"""How a training went, as curves: loss, scores and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.task.metric import Curve
from zoo.training.history import History

_X = "epoch"
Line = tuple[Sequence[float], Sequence[float]]


def curves(history: History, score: str) -> Iterator[Curve]:
    """Yield the curves of a run.

    Args:
        history: one entry per epoch, as in metrics.jsonl.
        score: the one that epochs are compared by.
    """
    yield Curve("Training loss", _X, "loss", {"within epochs": _within(history), "mean of the epoch": _line(history, "loss")})
    parts = dict.fromkeys(name for entry in history for name in entry.get("losses", {}))
    if len(parts) > 1:
        yield Curve("Parts of the loss", _X, "loss", {name: _line(history, "losses", name) for name in parts})
    names = dict.fromkeys(name for entry in history for name in entry.get("val", {}))
    if score in names:
        yield Curve(f"{score} on the validation data", _X, score, {score: _line(history, "val", score)})
    others = {name: line for name in names if name != score and _is_part(line := _line(history, "val", name))}
    if others:
        yield Curve("Other scores on the validation data", _X, "score", others)
    yield Curve("Learning rate at the end of the epoch", _X, "learning rate", {"learning rate": _line(history, "lr")})


def _within(history: History) -> Line:
    """Return the loss of each stretch of an epoch, at its end, counted in epochs."""
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
    """Return one number of every epoch that has it."""
    found: list[tuple[float, float]] = []
    for entry in history:
        value: Any = entry
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            found.append((float(entry["epoch"]), float(value)))
    return [x for x, _ in found], [y for _, y in found]


def _is_part(line: Line) -> bool:
    """Tell whether all values are parts of a whole: counts and times would press the scores flat."""
    return bool(line[1]) and all(0 <= value <= 1 for value in line[1])
