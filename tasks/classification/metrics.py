"""top1, top5, precision, recall, f1, calibration error and AUC with their intervals, per class, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.registry import natural_key
from zoo.task import Curve, MetricResult, Mistake
from zoo.tasks.classification.counts import BINS, Answers, Floats, affordable_auc, auc, class_scores, scores
from zoo.uncertainty import draws

_SHOWN = 24  # mistakes
_CURVES = 12  # classes with a ROC curve each; of more, nobody could read them
_POINTS = 200  # of a curve
_PER_CLASS = ("precision", "recall", "f1")


class ClassificationMetric:
    """Collects logits by key; the scores depend neither on batches nor on processes.

    It keeps 4 bytes per picture and class.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        """Start empty.

        Args:
            classes: the model's class names; labels count in their order.
        """
        self._classes = classes
        self._samples: dict[str, tuple[int, NDArray[np.float32]]] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Take a batch of logits [K] with class indices.

        Raises:
            InputError: logits that are not finite, or a target that is no class.
        """
        for logits, target, key in zip(answers, targets, keys, strict=True):
            if not np.isfinite(logits).all():
                raise InputError(f"{key}: its logits are not finite; the model's weights are damaged, or --precision is too low for them")
            if not isinstance(target, int | np.integer) or not 0 <= target < max(len(logits), 1):
                raise InputError(f"{key}: its class is {target!r}; expected a number from 0 to {len(logits) - 1}")
            self._samples[key] = int(target), np.asarray(logits, np.float32)

    def state(self) -> Any:
        """Return the samples."""
        return self._samples

    def merge(self, states: Sequence[Any]) -> None:
        """Bring the samples of several processes together; one that several have seen counts once."""
        self._samples = {key: sample for state in states for key, sample in state.items()}

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute the scores; classes that neither occur nor are answered don't count in the macro averages."""
        keys = sorted(self._samples, key=lambda key: (natural_key(key), key))
        logits = np.stack([self._samples[key][1] for key in keys]).astype(np.float64)
        answers = Answers(logits, np.array([self._samples[key][0] for key in keys], np.int64))
        once = np.ones((1, len(keys)))
        by_class = class_scores(answers, once)
        area = float(auc(answers, once)[0])
        values: dict[str, float | None] = {name: float(found[0]) for name, found in scores(answers, once, by_class).items()}
        values["auc"] = None if np.isnan(area) else area
        # a float32 network answers a little differently in batches of another size, and has no more digits to give
        values["ece"] = round(values["ece"] or 0.0, 6)
        seen = np.flatnonzero(by_class["n"][0] + by_class["answered"][0])
        per_class: dict[str, dict[str, float | None]] = {
            self._name(index): {**{name: float(by_class[name][0, index]) for name in _PER_CLASS}, "n": int(by_class["n"][0, index])}
            for index in seen.tolist()
        }
        confusion = _confusion(answers)[np.ix_(seen, seen)]
        details = {
            "confusion_matrix": {"classes": list(per_class), "rows_true_columns_answered": confusion.tolist()},
            "calibration": _calibration(answers),
            "bootstrap": {"over": "pictures", "replicates": replicates},
        }
        return MetricResult(
            values,
            per_class,
            details,
            _replicates(answers, replicates),
            tuple(self._mistakes(answers, keys)),
            tuple(self._curves(answers, seen)),
        )

    def _name(self, index: int) -> str:
        return self._classes[index] if index < len(self._classes) else str(index)

    def _mistakes(self, answers: Answers, keys: Sequence[str]) -> list[Mistake]:
        """Return the wrong answers that were given with most confidence."""
        wrong = np.flatnonzero(answers.ranks > 0)
        worst = wrong[np.argsort(-answers.confidence[wrong], kind="stable")[:_SHOWN]]
        return [
            Mistake(
                (keys[place],),
                f"{self._name(answers.labels[place])}, answered {self._name(answers.answered[place])} with {answers.confidence[place]:.2f}",
                float(answers.confidence[place]),
            )
            for place in worst
        ]

    def _curves(self, answers: Answers, seen: NDArray[np.int64]) -> list[Curve]:
        found = [part for part in _calibration(answers) if part["n"]]
        line = ([part["confidence"] for part in found], [part["accuracy"] for part in found])
        curves = [Curve("Calibration", "confidence", "accuracy", {"answers": line}, diagonal=True)]
        lines = {
            self._name(index): _roc(answers, index) for index in seen[:_CURVES] if 0 < (answers.labels == index).sum() < len(answers.labels)
        }
        if lines and len(seen) <= _CURVES:
            curves.append(Curve("ROC, one class against the rest", "false positive rate", "true positive rate", lines, diagonal=True))
        return curves


def _confusion(answers: Answers) -> NDArray[np.int64]:
    count = answers.logits.shape[1]
    flat: NDArray[np.int64] = np.bincount(answers.labels * count + answers.answered, minlength=count * count)
    return flat.reshape(count, count)


def _calibration(answers: Answers) -> list[dict[str, Any]]:
    """Return how many answers each bin of confidence holds, how sure they are and how often right."""
    rows = []
    for number in range(BINS):
        inside = answers.bins == number
        mean = [float(values[inside].mean()) if inside.any() else None for values in (answers.confidence, answers.ranks == 0)]
        rows.append({"from": number / BINS, "to": (number + 1) / BINS, "n": int(inside.sum()), "confidence": mean[0], "accuracy": mean[1]})
    return rows


def _roc(answers: Answers, index: int) -> tuple[list[float], list[float]]:
    from sklearn.metrics import roc_curve

    far, tar, _ = roc_curve(answers.labels == index, answers.probabilities[:, index])
    shown = np.unique(np.linspace(0, len(far) - 1, _POINTS).astype(int))
    return far[shown].tolist(), tar[shown].tolist()


def _replicates(answers: Answers, replicates: int) -> dict[str, Floats]:
    """Score every draw of `zoo.uncertainty.draws`."""
    parts: list[dict[str, Floats]] = []
    with_auc = affordable_auc(answers, replicates)
    for counts in draws(len(answers.labels), replicates):
        weights = counts.astype(np.float64)
        found = scores(answers, weights, class_scores(answers, weights))
        parts.append(found | ({"auc": auc(answers, weights)} if with_auc else {}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
