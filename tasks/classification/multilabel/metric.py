"""Evaluation of multi-label classifiers: scores with intervals, scores per class, the worst mistakes and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.errors import InputError
from zoo.evaluation.intervals import draws
from zoo.registry import natural_key
from zoo.task.metric import Curve, MetricResult, Mistake
from zoo.task.operating import Decisions as Candidates
from zoo.task.operating import marks_at, rates_at
from zoo.tasks.classification.curves import LINES, thinned
from zoo.tasks.classification.multilabel.scores import (
    Decisions,
    affordable,
    average_precisions,
    class_scores,
    mean_average_precision,
    scores,
)
from zoo.tasks.classification.multilabel.targets import Target, as_target
from zoo.tasks.classification.multilabel.thresholds import DEFAULT, label_thresholds
from zoo.tasks.classification.scores import Floats

_SHOWN = 24  # maximum number of mistakes
_NAMED = 6  # maximum number of classes that the description of a mistake names
_PER_CLASS = ("precision", "recall", "f1")


class MultiLabelMetric:
    """Metric that collects logits by image key, so that the division into batches and processes doesn't change the scores."""

    def __init__(self, classes: tuple[str, ...], thresholds: Any) -> None:
        """Store the classes and the thresholds, which are probabilities by class name, or None for 0.5."""
        self._classes, self._thresholds = classes, label_thresholds(thresholds, classes)
        self._samples: dict[str, tuple[Target, Target]] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add predictions, logits [K], and the targets."""
        for answer, target, key in zip(answers, targets, keys, strict=True):
            logits = np.asarray(answer, np.float32)
            if not np.isfinite(logits).all():
                raise InputError(f"{key}: its logits are not finite; the model's weights are damaged, or --precision is too low for them")
            self._samples[key] = as_target(target, len(logits), key), logits

    def state(self) -> Any:
        """Return the collected samples, for `merge`."""
        return self._samples

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the collected samples with those of several processes. Duplicate samples count once."""
        self._samples = {key: sample for state in states for key, sample in state.items()}

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute the scores; those that are undefined, because no class occurs or no label is known, are None."""
        keys, found = self._ordered()
        once = np.ones((1, len(keys)))
        by_class, precisions = class_scores(found, once), average_precisions(found, once)
        values = {"mAP": mean_average_precision(precisions), **scores(found, once, by_class)}
        per_class: dict[str, dict[str, float | None]] = {
            name: {
                "AP": _defined(precisions[0, index]),
                **{score: float(by_class[score][0, index]) for score in _PER_CLASS},
                "n": int(by_class["n"][0, index]),
                "known": int(by_class["known"][0, index]),
            }
            for index, name in enumerate(self._classes)
            if by_class["known"][0, index]
        }
        details = {
            "thresholds": dict(zip(self._classes, self._thresholds.tolist(), strict=True)),
            "labels": {"known": int(found.known.sum()), "unknown": int((~found.known).sum())},
            "bootstrap": {"over": "pictures", "replicates": replicates, "too_slow": [] if affordable(found, replicates) else ["mAP"]},
        }
        defined = {name: _defined(value[0]) for name, value in values.items()}
        drawn = _replicates(found, replicates)
        return MetricResult(defined, per_class, details, drawn, self._mistakes(found, keys), self._curves(found))

    def decisions(self) -> dict[str, Candidates]:
        """Return the decisions about images by class, without those whose label is unknown."""
        if not self._samples:
            nothing = Candidates(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64), 0, DEFAULT)
            return dict.fromkeys(self._classes, nothing)
        keys, found = self._ordered()
        probabilities = found.probabilities.astype(np.float32).astype(np.float64)  # as in `Classification`
        decided = {}
        for index, name in enumerate(self._classes):
            known = np.flatnonzero(found.known[:, index])
            decided[name] = Candidates(probabilities[known, index], found.present[known, index], known, len(keys), DEFAULT)
        return decided

    def _ordered(self) -> tuple[list[str], Decisions]:
        """Return the keys in natural order, and the predictions and labels in this order."""
        keys = sorted(self._samples, key=lambda key: (natural_key(key), key))
        targets, logits = (np.stack([self._samples[key][place] for key in keys]).astype(np.float64) for place in (0, 1))
        return keys, Decisions(logits, targets, self._thresholds)

    def _mistakes(self, found: Decisions, keys: Sequence[str]) -> tuple[Mistake, ...]:
        """Return the images with the worst wrong decisions: those whose probability is farthest from the label."""
        off = np.where(found.wrong, np.abs(found.probabilities - found.present), 0.0)
        worst = off.max(1, initial=0.0)
        places = np.argsort(-worst, kind="stable")[: min(_SHOWN, int((worst > 0).sum()))]
        mistakes = []
        for place in places:
            order = [index for index in np.argsort(-off[place], kind="stable") if off[place, index] > 0]
            shown = [
                f"{'missed' if found.present[place, index] else 'wrongly predicted'} {self._classes[index]} "
                f"with {found.probabilities[place, index]:.2f}"
                for index in order[:_NAMED]
            ]
            rest = f" and {len(order) - _NAMED} more" if len(order) > _NAMED else ""
            has = ", ".join(self._classes[index] for index in np.flatnonzero(found.present[place])[:_NAMED]) or "none of the classes"
            words = f"{has}: {', '.join(shown)}{rest}"
            mistakes.append(Mistake((keys[place],), words, float(worst[place]), labels=tuple(map(int, order[:2]))))
        return tuple(mistakes)

    def _curves(self, found: Decisions) -> tuple[Curve, ...]:
        """Return the precision-recall curves of the classes that occur; with more than 12, one curve over all labels."""
        from sklearn.metrics import precision_recall_curve  # takes a second to import

        occurs = [index for index in range(len(self._classes)) if found.present[:, index].any()]
        chosen = {self._classes[index]: (slice(None), [index]) for index in occurs}
        if len(chosen) > LINES:
            chosen = {"all classes": (slice(None), occurs)}
        lines = {}
        for name, part in chosen.items():
            known = found.known[part]
            precision, recall, _ = precision_recall_curve(found.present[part][known], found.probabilities[part][known])
            lines[name] = thinned(recall[::-1], precision[::-1])
        thresholds = dict(zip(self._classes, self._thresholds.tolist(), strict=True))
        marks = marks_at(rates_at(self.decisions(), thresholds), thresholds)
        return (Curve("Precision and recall", "recall", "precision", lines, marks=marks),) if lines else ()


def _replicates(found: Decisions, replicates: int) -> dict[str, Floats]:
    """Return the scores of each bootstrap replicate, [R] each, drawn by `zoo.evaluation.intervals.draws`."""
    parts: list[dict[str, Floats]] = []
    with_precision = affordable(found, replicates)
    for counts in draws(len(found.targets), replicates):
        weights = counts.astype(np.float64)
        values = scores(found, weights, class_scores(found, weights))
        if with_precision:
            values["mAP"] = mean_average_precision(average_precisions(found, weights))
        parts.append(values)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
