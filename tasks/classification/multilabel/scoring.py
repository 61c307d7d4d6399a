"""Scoring of multi-label classification: its metric and its thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from zoo.data.dataset import Dataset
from zoo.task.metric import Metric
from zoo.task.operating import THRESHOLDS, Decisions, stored_thresholds
from zoo.task.scoring import Scoring
from zoo.tasks.classification.options import ThresholdScoring


class MultiLabelScoring(Scoring):
    """Evaluation of multi-label classifiers by average precision, and by F1 and accuracy at the thresholds."""

    primary_score = "mAP"
    score_names: ClassVar[tuple[str, ...]] = (
        "mAP", "f1_micro", "f1_macro", "precision_micro", "precision_macro", "recall_micro", "recall_macro", "subset_accuracy",
    )  # fmt: skip
    options = ThresholdScoring

    def settle(self, options: dict[str, Any], metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add the thresholds that are stored with the models. Models with different thresholds are scored at the default, 0.5."""
        return {**options, THRESHOLDS: stored_thresholds(metadata)}

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the multi-label metric: mAP, F1, precision, recall and subset accuracy."""
        from zoo.tasks.classification.multilabel.metric import MultiLabelMetric

        threshold = options["threshold"]
        return MultiLabelMetric(classes, options[THRESHOLDS] if threshold is None else dict.fromkeys(classes, threshold))

    def decisions(
        self, metric: Any, classes: tuple[str, ...], options: Mapping[str, Any], positive: str | None
    ) -> Mapping[str, Decisions] | None:
        """Return the decisions about images by class, without those whose label is unknown."""
        found: Mapping[str, Decisions] = metric.decisions()
        return found
