"""Evaluation of boxes in COCO's form, without images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.task.metric import MetricResult
from zoo.tasks.detection.data.columns import Columns, Floats, Found, Ints, Truth
from zoo.tasks.detection.metric.metric import scored
from zoo.tasks.detection.options import DetectionScoring


def coco_scores(
    gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], scoring: DetectionScoring | None = None, replicates: int = 0
) -> MetricResult:
    """Evaluate boxes in COCO's form: `gt` as in an instances file, `detections` as in a results file; ids may be any numbers."""
    return scored(columns_of_coco(gt, detections), scoring or DetectionScoring(), replicates)


def columns_of_coco(gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Columns:
    """Convert the lists of `coco_scores` into columns, with images and classes in the order of their ids."""
    categories = sorted(gt["categories"], key=lambda category: category["id"])
    picture = {identity: place for place, identity in enumerate(sorted(image["id"] for image in gt["images"]))}
    label = {category["id"]: index for index, category in enumerate(categories)}
    objects = sorted(gt["annotations"], key=lambda entry: picture[entry["image_id"]])
    answers = sorted(detections, key=lambda entry: picture[entry["image_id"]])
    boxes = _boxes(objects)
    truth = Truth(
        _numbers(objects, "image_id", picture),
        _numbers(objects, "category_id", label),
        boxes,
        np.array([entry.get("area", width * height) for entry, (_, _, width, height) in zip(objects, boxes, strict=True)], np.float64),
        np.array([bool(entry.get("iscrowd", 0)) for entry in objects], np.bool_),
        np.array([bool(entry.get("difficult", 0)) for entry in objects], np.bool_),
    )
    found = Found(
        _numbers(answers, "image_id", picture),
        _numbers(answers, "category_id", label),
        _boxes(answers),
        np.array([entry["score"] for entry in answers], np.float64),
    )
    names = tuple(str(category["name"]) for category in categories)
    return Columns(tuple(str(identity) for identity in picture), names, truth, found)


def _numbers(entries: Sequence[Mapping[str, Any]], name: str, place: Mapping[Any, int]) -> Ints:
    return np.array([place[entry[name]] for entry in entries], np.int64)


def _boxes(entries: Sequence[Mapping[str, Any]]) -> Floats:
    return np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
