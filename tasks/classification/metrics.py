"""Classification metric: top1, top5, precision, recall, f1, calibration error and AUC with intervals, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.evaluation.intervals import draws
from zoo.registry import natural_key
from zoo.task.metric import MetricResult, Mistake
from zoo.tasks.classification.curves import calibration, curves
from zoo.tasks.classification.scores import Answers, Floats, affordable_auc, auc, class_scores, scores

_SHOWN = 24  # maximum number of mistakes
_PER_CLASS = ("precision", "recall", "f1")
_OF_PROBABILITIES = ("top5", "ece", "auc")


class ClassificationMetric:
    """Metric that collects logits by image key, using 4 bytes per image and class.

    The scores don't depend on the division into batches and processes.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._samples: dict[str, tuple[int, NDArray[np.float32] | NDArray[np.bool_]]] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add a batch of predictions with class indices as targets.

        A prediction is an array of logits [K], or only a class as a zero-dimensional int64 array (from a file or a hard vote).
        """
        for answer, target, key in zip(answers, targets, keys, strict=True):
            logits = np.arange(len(self._classes)) == answer if np.ndim(answer) == 0 else np.asarray(answer, np.float32)
            if not np.isfinite(logits).all():
                raise InputError(f"{key}: its logits are not finite; the model's weights are damaged, or --precision is too low for them")
            if not isinstance(target, int | np.integer) or not 0 <= target < max(len(logits), 1):
                raise InputError(f"{key}: its class is {target!r}; expected a whole number from 0 to {len(logits) - 1}")
            self._samples[key] = int(target), logits

    def state(self) -> Any:
        """Return the collected samples, for `merge`."""
        return self._samples

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the collected samples with those of several processes. Duplicate samples count once."""
        self._samples = {key: sample for state in states for key, sample in state.items()}

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute the scores. Classes that neither occur nor are predicted are excluded from the macro averages."""
        keys = sorted(self._samples, key=lambda key: (natural_key(key), key))
        logits = np.stack([self._samples[key][1] for key in keys]).astype(np.float64)
        labels_alone = any(answer.dtype == np.bool_ for _, answer in self._samples.values())
        answers = Answers(logits, np.array([self._samples[key][0] for key in keys], np.int64))
        once = np.ones((1, len(keys)))
        by_class = class_scores(answers, once)
        area = float(auc(answers, once)[0])
        values: dict[str, float | None] = {name: float(found[0]) for name, found in scores(answers, once, by_class).items()}
        values["auc"] = None if np.isnan(area) else area
        # float32 outputs vary slightly with the batch size, so further digits are not reproducible
        values["ece"] = round(values["ece"] or 0.0, 6)
        seen = np.flatnonzero(by_class["n"][0] + by_class["answered"][0])
        per_class: dict[str, dict[str, float | None]] = {
            self._name(index): {**{name: float(by_class[name][0, index]) for name in _PER_CLASS}, "n": int(by_class["n"][0, index])}
            for index in seen.tolist()
        }
        count = logits.shape[1]
        confusion = np.bincount(answers.labels * count + answers.answered, minlength=count**2).reshape(count, count)[np.ix_(seen, seen)]
        details = {
            "confusion_matrix": {"classes": list(per_class), "rows_true_columns_answered": confusion.tolist()},
            "calibration": calibration(answers),
            "bootstrap": {"over": "pictures", "replicates": replicates, "too_slow": [] if affordable_auc(answers, replicates) else ["auc"]},
        }
        drawn = _replicates(answers, replicates)
        if labels_alone:  # without probabilities, top-5 accuracy, AUC and calibration error are undefined
            values |= dict.fromkeys(_OF_PROBABILITIES)
            drawn = {name: found for name, found in drawn.items() if name not in _OF_PROBABILITIES}
            del details["calibration"]
            return MetricResult(values, per_class, details, drawn)
        return MetricResult(
            values, per_class, details, drawn, tuple(self._mistakes(answers, keys)), curves(answers, seen.tolist(), list(per_class))
        )

    def _name(self, index: int) -> str:
        return self._classes[index] if index < len(self._classes) else str(index)

    def _mistakes(self, answers: Answers, keys: Sequence[str]) -> list[Mistake]:
        """Return the wrong predictions with the highest confidence."""
        wrong = np.flatnonzero(answers.ranks > 0)
        worst = wrong[np.argsort(-answers.confidence[wrong], kind="stable")[:_SHOWN]]
        return [
            Mistake(
                (keys[place],),
                f"{self._name(answers.labels[place])}, "
                f"predicted {self._name(answers.answered[place])} with {answers.confidence[place]:.2f}",
                float(answers.confidence[place]),
                labels=(int(answers.labels[place]), int(answers.answered[place])),
            )
            for place in worst
        ]


def _replicates(answers: Answers, replicates: int) -> dict[str, Floats]:
    """Return the scores of each bootstrap replicate, [R] each, drawn by `zoo.evaluation.intervals.draws`."""
    parts: list[dict[str, Floats]] = []
    with_auc = affordable_auc(answers, replicates)
    for counts in draws(len(answers.labels), replicates):
        weights = counts.astype(np.float64)
        found = scores(answers, weights, class_scores(answers, weights))
        parts.append(found | ({"auc": auc(answers, weights)} if with_auc else {}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
