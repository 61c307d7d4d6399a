"""Evaluation of classifiers: scores with intervals, confusion matrix, mistakes, the curves of a report, and scores under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.evaluation.intervals import draws
from zoo.registry import natural_key
from zoo.task.metric import Curve, MetricResult, Mistake
from zoo.task.operating import Decisions, marks_at
from zoo.task.scoring import AttackProtocol
from zoo.tasks.classification.binary import DEFAULT, Decision
from zoo.tasks.classification.curves import LINES, thinned
from zoo.tasks.classification.scores import BINS, Answers, Floats, affordable_auc, auc, class_scores, scores

_SHOWN = 24  # maximum number of mistakes
_PER_CLASS = ("precision", "recall", "f1")
_OF_PROBABILITIES = ("top5", "ece", "auc")
_MICRO = 5_000_000  # maximum of images × classes for the line over all classes; sorting more takes too long


class ClassificationMetric:
    """Metric that collects logits by image key, so that the division into batches and processes doesn't change the scores."""

    def __init__(self, classes: tuple[str, ...], decision: Decision | None = None) -> None:
        """Store the classes, and the threshold of two classes; without one, the most probable class is predicted."""
        self._classes, self._decision = classes, decision
        self._samples: dict[str, tuple[int, NDArray[np.float32] | NDArray[np.bool_]]] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add predictions, logits [K] or class indices (zero-dimensional int64, from a file or a hard vote), and the true class indices."""
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
        keys, answers = self._ordered()
        labels_alone = any(answer.dtype == np.bool_ for _, answer in self._samples.values())
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
        count = answers.logits.shape[1]
        confusion = np.bincount(answers.labels * count + answers.answered, minlength=count**2).reshape(count, count)[np.ix_(seen, seen)]
        details = {
            "confusion_matrix": {"classes": list(per_class), "rows_true_columns_answered": confusion.tolist()},
            "calibration": _calibration(answers),
            "bootstrap": {"over": "pictures", "replicates": replicates, "too_slow": [] if affordable_auc(answers, replicates) else ["auc"]},
        }
        drawn = _replicates(answers, replicates)
        if labels_alone:  # without probabilities, top-5 accuracy, AUC and calibration error are undefined
            values |= dict.fromkeys(_OF_PROBABILITIES)
            drawn = {name: found for name, found in drawn.items() if name not in _OF_PROBABILITIES}
            del details["calibration"]
            return MetricResult(values, per_class, details, drawn)
        return MetricResult(
            values,
            per_class,
            details,
            drawn,
            self._mistakes(answers, keys),
            _curves(answers, seen.tolist(), list(per_class), self._marks()),
        )

    def _marks(self) -> dict[str, tuple[float, float, str]]:
        """Return the operating point of two classes as a mark of the precision-recall curve, by the name of the positive class."""
        if self._decision is None:
            return {}
        positive, threshold = self._decision
        name = self._name(positive)
        return marks_at({name: self.decisions(positive).at(threshold)}, {name: threshold})

    def decisions(self, positive: int) -> Decisions:
        """Return the decisions about the class with this index."""
        if not self._samples:
            return Decisions(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64), 0, DEFAULT)
        keys, answers = self._ordered()
        probabilities = answers.probabilities[:, positive].astype(np.float32).astype(np.float64)  # as in `Classification`
        return Decisions(probabilities, answers.labels == positive, np.arange(len(keys)), len(keys), DEFAULT)

    def _ordered(self) -> tuple[list[str], Answers]:
        """Return the keys in natural order, and the predictions and labels in this order."""
        keys = sorted(self._samples, key=lambda key: (natural_key(key), key))
        logits = np.stack([self._samples[key][1] for key in keys]).astype(np.float64)
        labels = np.array([self._samples[key][0] for key in keys], np.int64)
        decided = None if any(answer.dtype == np.bool_ for _, answer in self._samples.values()) else self._decision
        return keys, Answers(logits, labels, decided)

    def _name(self, index: int) -> str:
        return self._classes[index] if index < len(self._classes) else str(index)

    def _mistakes(self, answers: Answers, keys: Sequence[str]) -> tuple[Mistake, ...]:
        """Return the wrong predictions with the highest confidence."""
        wrong = np.flatnonzero(~answers.right)
        predicted = answers.probabilities[np.arange(len(answers.labels)), answers.answered]
        mistakes = []
        for place in wrong[np.argsort(-predicted[wrong], kind="stable")[:_SHOWN]]:
            label, answered, confidence = int(answers.labels[place]), int(answers.answered[place]), float(predicted[place])
            words = f"{self._name(label)}, predicted {self._name(answered)} with {confidence:.2f}"
            mistakes.append(Mistake((keys[place],), words, confidence, labels=(label, answered)))
        return tuple(mistakes)


def _replicates(answers: Answers, replicates: int) -> dict[str, Floats]:
    """Return the scores of each bootstrap replicate, [R] each, drawn by `zoo.evaluation.intervals.draws`."""
    parts: list[dict[str, Floats]] = []
    with_auc = affordable_auc(answers, replicates)
    for counts in draws(len(answers.labels), replicates):
        weights = counts.astype(np.float64)
        found = scores(answers, weights, class_scores(answers, weights))
        parts.append(found | ({"auc": auc(answers, weights)} if with_auc else {}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _calibration(answers: Answers) -> list[dict[str, Any]]:
    """Return the number of predictions, mean confidence and accuracy of each confidence bin. The means of an empty bin are None."""
    rows = []
    for number in range(BINS):
        inside = answers.bins == number
        mean = [float(values[inside].mean()) if inside.any() else None for values in (answers.confidence, answers.ranks == 0)]
        rows.append({"from": number / BINS, "to": (number + 1) / BINS, "n": int(inside.sum()), "confidence": mean[0], "accuracy": mean[1]})
    return rows


def _curves(
    answers: Answers, seen: Sequence[int], names: Sequence[str], marks: Mapping[str, tuple[float, float, str]]
) -> tuple[Curve, ...]:
    """Return the calibration, ROC and precision-recall curves, the last with `marks`.

    `seen` and `names` are the indices and names of the occurring classes.
    """
    found = [part for part in _calibration(answers) if part["n"]]
    line = ([part["confidence"] for part in found], [part["accuracy"] for part in found])
    drawn = [Curve("Calibration", "confidence", "accuracy", {"answers": line}, diagonal=True)]
    if decided := _decisions(answers, seen, names):
        from sklearn.metrics import precision_recall_curve, roc_curve  # takes a second to import

        roc, over_recall = {}, {}
        for name, (right, probability) in decided.items():
            false_positive, true_positive, _ = roc_curve(right, probability)
            precision, recall, _ = precision_recall_curve(right, probability)
            roc[name], over_recall[name] = thinned(false_positive, true_positive), thinned(recall[::-1], precision[::-1])
        drawn.append(Curve("ROC, one class against the rest", "false positive rate", "true positive rate", roc, diagonal=True))
        drawn.append(Curve("Precision and recall", "recall", "precision", over_recall, marks=marks))
    return tuple(drawn)


def _decisions(answers: Answers, seen: Sequence[int], names: Sequence[str]) -> dict[str, tuple[NDArray[np.bool_], Floats]]:
    """Return the binary labels [P] and the predicted probabilities [P] for each line of the curves.

    Each class has one line, for this class against all others, unless all images or none belong to it. With more than 12 classes, there
    is a single line, the micro average over all classes.
    """
    if len(seen) > LINES:
        if answers.logits.size > _MICRO:
            return {}
        right = np.arange(answers.logits.shape[1]) == answers.labels[:, None]
        return {"all classes": (right.ravel(), answers.probabilities.ravel())}
    each = {name: (answers.labels == index, answers.probabilities[:, index]) for index, name in zip(seen, names, strict=True)}
    return {name: (right, probability) for name, (right, probability) in each.items() if right.any() and not right.all()}


class ClassAttack(AttackProtocol):
    """Attack protocol that maximises the cross-entropy of the right class and computes the usual classification scores."""

    def __init__(self, dataset: Dataset, classes: tuple[str, ...]) -> None:
        self.pictures, self._classes = dataset, classes
        self._clean: Mapping[str, Any] = {}

    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return the dataset without the images that couldn't be read. `answers` are the predictions for the clean images."""
        self._clean = answers
        return replace(self.pictures, records=tuple(record for record in self.pictures.records if record.key in answers))

    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the cross-entropy of each image, [B], given logits [B, K] and class indices [B]."""
        return F.cross_entropy(answers, torch.tensor(targets, dtype=torch.int64, device=answers.device), reduction="none")

    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the logits of clean and of attacked images with the classification metric, by "clean" and "robust"."""
        targets = {record.key: record.target for record in self.pictures.records if record.key in robust}
        results = {}
        for name, answers in (("clean", self._clean), ("robust", robust)):
            metric = ClassificationMetric(self._classes)
            metric.update([answers[key] for key in targets], list(targets.values()), list(targets))
            results[name] = metric.compute(replicates)
        return results
