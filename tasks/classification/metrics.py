"""top1, top5, macro precision, recall and f1, per class, and the confusion matrix: torchmetrics does the counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric as CountingMetric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from zoo.task import MetricResult

_PER_CLASS = {"precision": MulticlassPrecision, "recall": MulticlassRecall, "f1": MulticlassF1Score}


class ClassificationMetric:
    """Counts right and wrong answers per class."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        """Start at nought.

        Args:
            classes: the model's class names; labels count in their order.
        """
        self._classes = classes
        count = max(2, len(classes))
        # `merge` adds the processes up; torchmetrics would do it once more by itself
        settings: dict[str, Any] = {"validate_args": False, "sync_on_compute": False}
        self._metrics: dict[str, CountingMetric] = {
            "top1": MulticlassAccuracy(count, average="micro", **settings),
            # of fewer than five classes, the right one is always among the first five (timm's convention)
            "top5": MulticlassAccuracy(count, top_k=min(5, count), average="micro", **settings),
            "confusion": MulticlassConfusionMatrix(count, **settings),
        }
        for name, kind in _PER_CLASS.items():
            self._metrics[name] = kind(count, average="macro", **settings)
            self._metrics[f"{name} per class"] = kind(count, average=None, **settings)

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Count a batch of logits [K] against class indices."""
        logits = torch.from_numpy(np.stack(answers))
        labels = torch.tensor(targets, dtype=torch.int64)
        if logits.shape[1] == 1:  # a classifier of one class: torchmetrics counts from two
            logits = torch.cat([logits, torch.full_like(logits, -torch.inf)], dim=1)
        for metric in self._metrics.values():
            metric.update(logits, labels)

    def state(self) -> Any:
        """Return the counts."""
        return {name: metric.metric_state for name, metric in self._metrics.items()}

    def merge(self, states: Sequence[Any]) -> None:
        """Add up the counts of several processes."""
        for name, metric in self._metrics.items():
            for key in metric.metric_state:
                setattr(metric, key, torch.stack([state[name][key] for state in states]).sum(0))
            metric._update_count = 1  # torchmetrics warns about a compute() without an update() of its own

    def compute(self, replicates: int = 0) -> MetricResult:
        """Turn the counts into scores; classes that neither occur nor are answered don't count in the macro averages."""
        for metric in self._metrics.values():  # torchmetrics divides in float32; counts in float64 keep every digit
            for key, count in metric.metric_state.items():
                setattr(metric, key, count.double())  # type: ignore[union-attr]
        values = {name: metric.compute() for name, metric in self._metrics.items()}
        confusion = values.pop("confusion").long()
        support = confusion.sum(1)
        per_class: dict[str, dict[str, float | None]] = {}
        for index, name in enumerate(self._classes):
            if support[index] or confusion[:, index].any():
                per_class[name] = {score: float(values[f"{score} per class"][index]) for score in _PER_CLASS}
                per_class[name]["n"] = int(support[index])
        scores: dict[str, float | None] = {name: float(values[name]) for name in ("top1", "top5", *_PER_CLASS)}
        seen = [index for index, name in enumerate(self._classes) if name in per_class]
        details = {"confusion_matrix": {"classes": list(per_class), "rows_true_columns_answered": confusion[seen][:, seen].tolist()}}
        return MetricResult(scores, per_class, details)
