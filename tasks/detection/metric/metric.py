"""Detection metric: the twelve COCO scores with confidence intervals, AP, AP50 and AR per class, and an error analysis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from zoo.evaluation.intervals import Counts, draws
from zoo.task.metric import MetricResult
from zoo.task.operating import Decisions, Rates, marks_at, rates_at
from zoo.tasks.detection.attributes import Attributes
from zoo.tasks.detection.data.columns import Columns, check_answer, columns_of
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.metric.attributes import attribute_scores
from zoo.tasks.detection.metric.average_precision import joined, weighted_scores
from zoo.tasks.detection.metric.errors import KINDS, Errors, errors
from zoo.tasks.detection.metric.evaluators import evaluate
from zoo.tasks.detection.metric.matching import match
from zoo.tasks.detection.metric.operating import decisions_of, operating_table
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
        attributes: the attributes of the model, which are scored as `metric.attributes` defines.
        thresholds: operating point, as score thresholds by class name, at which precision, recall and F1 are reported; None for none.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        scoring: DetectionScoring | None = None,
        order: Mapping[str, int] | None = None,
        attributes: Attributes = MappingProxyType({}),
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self._classes, self._scoring, self._order, self._attributes = classes, scoring or DetectionScoring(), order, attributes
        self._thresholds = thresholds
        self._pictures: dict[str, tuple[Mapping[str, Any], Target]] = {}

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
        return scored(self.columns(), self._scoring, replicates, self._attributes, self._thresholds)

    def decisions(self, default: float) -> dict[str, Decisions]:
        """Return the decisions about detections by class. A detection is right if it is matched to an object at an IoU of at least 0.5."""
        return decisions_of(self.columns(), default)

    def columns(self) -> Columns:
        """Return the objects and detections of all collected images."""
        order = self._order or {}
        keys = sorted(self._pictures, key=lambda key: (order.get(key, len(order)), key))
        answers, targets = [self._pictures[key][0] for key in keys], [self._pictures[key][1] for key in keys]
        return columns_of(keys, self._classes, targets, answers, self._attributes)


def scored(
    columns: Columns,
    scoring: DetectionScoring,
    replicates: int = 0,
    attributes: Attributes = MappingProxyType({}),
    thresholds: Mapping[str, float] | None = None,
) -> MetricResult:
    """Evaluate detections, with `replicates` bootstrap replicates over images, and report the operating point `thresholds`, if any."""
    rates = {} if thresholds is None else rates_at(decisions_of(columns, 0.0), thresholds)
    point = {} if thresholds is None else {"operating_point": {name: _rates(each, thresholds[name]) for name, each in rates.items()}}
    evaluation = evaluate(columns, scoring.evaluator, scoring.max_dets)
    matches = match(columns, scoring.max_dets)
    found = errors(columns, matches)
    result = MetricResult(
        evaluation.scores(),
        {name: {**values, **_decided(rates.get(name))} for name, values in evaluation.per_class(columns.classes).items()},
        _details(columns, scoring, found, replicates) | point,
        joined([weighted_scores(columns, matches, counts, scoring.max_dets) for counts in _drawn(columns, replicates)]),
        worst_pictures(columns, found),
        detection_curves(evaluation, columns.classes, {} if thresholds is None else marks_at(rates, thresholds)),
        (*([] if thresholds is None else [operating_table(rates, thresholds)]), error_table(found)),
    )
    if not attributes:
        return result
    more = attribute_scores(columns, matches, attributes, scoring, _drawn(columns, replicates))
    return replace(
        result,
        scores={**result.scores, **more.scores},
        details={**result.details, "attributes": more.details},
        replicates={**result.replicates, **more.replicates},
        tables=(*result.tables, more.table),
    )


def _decided(rates: Rates | None) -> dict[str, float | None]:
    """Return precision, recall and F1 of a class at its threshold; empty without a threshold."""
    return {} if rates is None else {"precision": rates.precision, "recall": rates.recall, "f1": rates.f1}


def _rates(rates: Rates, threshold: float) -> dict[str, float | int | None]:
    return {"threshold": threshold, **_decided(rates), "n": rates.positives}


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


def _drawn(columns: Columns, replicates: int) -> Iterator[Counts]:
    """Yield the bootstrap draws of the images; none without images or replicates."""
    if columns.keys and replicates:
        yield from draws(len(columns.keys), _affordable(columns, replicates))
