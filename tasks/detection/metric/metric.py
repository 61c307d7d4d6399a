"""Detection metric: the twelve COCO scores with confidence intervals, AP, AP50 and AR per class, and an error analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.evaluation.intervals import draws
from zoo.task.metric import MetricResult
from zoo.tasks.detection.data.columns import Columns, Floats, check_answer, columns_of
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.metric.average_precision import weighted_scores
from zoo.tasks.detection.metric.errors import KINDS, Errors, errors
from zoo.tasks.detection.metric.evaluators import evaluate
from zoo.tasks.detection.metric.matching import Matches, match
from zoo.tasks.detection.metric.report import detection_curves, error_table, worst_pictures
from zoo.tasks.detection.options import DetectionScoring

_COUNTED = 200_000_000  # maximum of detections × bootstrap replicates
_LEAST_DRAWS = 200  # minimum number of bootstrap replicates


class CocoMetric:
    """Metric that collects predictions and ground truth by image key and evaluates them as COCO does.

    Crowds are treated as in COCO. Difficult objects (VOC) count neither as found nor as missed.

    Args:
        classes: class names.
        scoring: scoring options. AP covers at most `max_dets` detections per image and class, 100 by default. This limit doesn't follow the
            model's `max_detections`, because scores with different limits are not comparable.
        order: position of each image by key, which decides between equal scores in different images; by default that of the sorted keys.
    """

    def __init__(self, classes: tuple[str, ...], scoring: DetectionScoring | None = None, order: Mapping[str, int] | None = None) -> None:
        self._classes, self._scoring, self._order = classes, scoring or DetectionScoring(), order
        self._pictures: dict[str, tuple[Mapping[str, NDArray[Any]], Target]] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add a batch of predictions (`boxes`, `scores`, `labels`) and targets, in pixels of the original images."""
        for answer, target, key in zip(answers, targets, keys, strict=True):
            check_answer(answer, key, len(self._classes))
            self._pictures[key] = (answer, as_target(target, key))

    def state(self) -> Any:
        """Return the collected predictions and targets, for `merge`."""
        return self._pictures

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the collected predictions and targets with those of several processes. Duplicate images count once."""
        self._pictures = {key: picture for state in states for key, picture in state.items()}

    def compute(self, replicates: int = 0) -> MetricResult:
        """Evaluate all images. The result doesn't depend on the division into batches and processes."""
        return scored(self.columns(), self._scoring, replicates)

    def columns(self) -> Columns:
        """Return the objects and detections of all collected images."""
        order = self._order or {}
        keys = sorted(self._pictures, key=lambda key: (order.get(key, len(order)), key))
        answers, targets = [self._pictures[key][0] for key in keys], [self._pictures[key][1] for key in keys]
        return columns_of(keys, self._classes, targets, answers)


def scored(columns: Columns, scoring: DetectionScoring, replicates: int = 0) -> MetricResult:
    """Evaluate detections, with `replicates` bootstrap replicates over images."""
    evaluation = evaluate(columns, scoring.evaluator, scoring.max_dets)
    matches = match(columns, scoring.max_dets)
    found = errors(columns, matches)
    return MetricResult(
        evaluation.scores(),
        evaluation.per_class(columns.classes),
        _details(columns, scoring, found, replicates),
        _replicates(columns, matches, scoring, replicates),
        worst_pictures(columns, found),
        detection_curves(evaluation, columns.classes),
        (error_table(found),),
    )


def _details(columns: Columns, scoring: DetectionScoring, found: Errors, replicates: int) -> dict[str, Any]:
    return {
        "evaluator": scoring.evaluator,
        "max_dets": scoring.max_dets,
        "objects": len(columns.truth.label),
        "detections": len(columns.found.label),
        "pictures_without_detections": len(columns.keys) - len(np.unique(columns.found.picture)),
        "errors": {kind: {"n": found.count(kind), "ap50_cost": found.cost[kind]} for kind in KINDS},
        "bootstrap": {"over": "pictures", "replicates": _affordable(columns, replicates)},
    }


def _affordable(columns: Columns, replicates: int) -> int:
    """Return the number of bootstrap replicates to compute, which is lower than `replicates` for very many detections."""
    return min(replicates, max(_LEAST_DRAWS, _COUNTED // max(1, len(columns.found.label))))


def _replicates(columns: Columns, matches: Matches, scoring: DetectionScoring, replicates: int) -> dict[str, Floats]:
    """Return the scores of each bootstrap replicate, [R] each, drawn by `zoo.evaluation.intervals.draws`."""
    if not columns.keys or not replicates:
        return {}
    drawn = draws(len(columns.keys), _affordable(columns, replicates))
    parts = [weighted_scores(columns, matches, counts, scoring.max_dets) for counts in drawn]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
