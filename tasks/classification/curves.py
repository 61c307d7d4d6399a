"""Curves in a classifier's report: calibration, ROC, and precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.metric import Curve
from zoo.tasks.classification.scores import BINS, Answers

_LINES = 12  # maximum number of classes with one line each; more would be unreadable
_POINTS = 200  # maximum number of points per line
_MICRO = 5_000_000  # maximum of images × classes for the line over all classes; sorting more takes too long

Line = tuple[list[float], list[float]]


def calibration(answers: Answers) -> list[dict[str, Any]]:
    """Return the number of predictions, mean confidence and accuracy of each confidence bin. The means of an empty bin are None."""
    rows = []
    for number in range(BINS):
        inside = answers.bins == number
        mean = [float(values[inside].mean()) if inside.any() else None for values in (answers.confidence, answers.ranks == 0)]
        rows.append({"from": number / BINS, "to": (number + 1) / BINS, "n": int(inside.sum()), "confidence": mean[0], "accuracy": mean[1]})
    return rows


def curves(answers: Answers, seen: Sequence[int], names: Sequence[str]) -> tuple[Curve, ...]:
    """Return the calibration, ROC and precision-recall curves.

    Each class has one line in the ROC and precision-recall curves. With more than 12 classes there is a single line, the micro average over
    all decisions.

    Args:
        answers: predictions and right classes.
        seen: indices of the classes that occur or are predicted.
        names: names of the classes in `seen`.
    """
    found = [part for part in calibration(answers) if part["n"]]
    line = ([part["confidence"] for part in found], [part["accuracy"] for part in found])
    drawn = [Curve("Calibration", "confidence", "accuracy", {"answers": line}, diagonal=True)]
    decided = _decisions(answers, seen, names)
    if decided:
        from sklearn.metrics import precision_recall_curve, roc_curve  # takes a second to import

        roc, over_recall = {}, {}
        for name, (right, probability) in decided.items():
            false_positive, true_positive, _ = roc_curve(right, probability)
            precision, recall, _ = precision_recall_curve(right, probability)
            roc[name], over_recall[name] = _thinned(false_positive, true_positive), _thinned(recall[::-1], precision[::-1])
        drawn.append(Curve("ROC, one class against the rest", "false positive rate", "true positive rate", roc, diagonal=True))
        drawn.append(Curve("Precision and recall", "recall", "precision", over_recall))
    return tuple(drawn)


def _decisions(answers: Answers, seen: Sequence[int], names: Sequence[str]) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]:
    """Return for each line whether each decision is right, [P], and its probability, [P].

    Lines whose decisions are all right or all wrong are skipped.
    """
    if len(seen) > _LINES:
        if answers.logits.size > _MICRO:
            return {}
        right = np.arange(answers.logits.shape[1]) == answers.labels[:, None]
        return {"all classes": (right.ravel(), answers.probabilities.ravel())}
    each = {name: (answers.labels == index, answers.probabilities[:, index]) for index, name in zip(seen, names, strict=True)}
    return {name: (right, probability) for name, (right, probability) in each.items() if right.any() and not right.all()}


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Line:
    shown = np.unique(np.linspace(0, len(x) - 1, _POINTS).astype(int))
    return x[shown].tolist(), y[shown].tolist()
