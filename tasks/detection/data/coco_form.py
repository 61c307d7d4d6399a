"""Evaluation of boxes in COCO's form (the lists of an instances file and a results file), without images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.errors import InputError
from zoo.task.metric import MetricResult
from zoo.tasks.detection.data.columns import Columns, Floats, Found, Ints, Truth
from zoo.tasks.detection.metric.metric import scored
from zoo.tasks.detection.metric.scoring import DetectionScoring


def coco_scores(
    gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], scoring: DetectionScoring | None = None, replicates: int = 0
) -> MetricResult:
    """Evaluate boxes in COCO's form.

    Args:
        gt: ground truth: `images`, `categories` and `annotations` (`bbox` xywh in pixels; `area` by default the box's, `iscrowd` and
            `difficult` by default false), as in a COCO instances file. Ids may be any numbers, including 0.
        detections: dicts with `image_id`, `category_id`, `bbox` xywh and `score`, as in a COCO results file.
        scoring: evaluator and limit of detections; None for the defaults.
        replicates: number of bootstrap replicates over images.

    Returns:
        The twelve scores, None where there is nothing to measure (COCO's -1), and the other results of the metric.

    Raises:
        InputError: a detection refers to an unknown image or class.
    """
    return scored(columns_of_coco(gt, detections), scoring or DetectionScoring(), replicates)


def columns_of_coco(gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Columns:
    """Convert COCO's lists into columns, with images and classes in the order of their ids.

    Args:
        gt: ground truth, as for `coco_scores`.
        detections: detections, as for `coco_scores`.

    Raises:
        InputError: a detection refers to an unknown image or class.
    """
    categories = sorted(gt["categories"], key=lambda category: category["id"])
    picture = {identity: place for place, identity in enumerate(sorted(image["id"] for image in gt["images"]))}
    label = {category["id"]: index for index, category in enumerate(categories)}
    for name, known, what in (("image_id", picture, "images"), ("category_id", label, "classes")):
        strangers = sorted({str(entry[name]) for entry in detections if entry[name] not in known})
        if strangers:
            raise InputError(f"detections refer to {len(strangers)} {what} that are not in the ground truth: {', '.join(strangers[:8])}")
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
