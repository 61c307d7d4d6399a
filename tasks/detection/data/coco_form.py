"""Boxes in COCO's own form, the lists of an instances file and of a results file, without any picture."""

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
        gt: `images`, `categories` and `annotations` (`bbox` xywh in pixels; `area` by default the box's, `iscrowd` and `difficult`
            by default false), as in a COCO instances file. Ids may be any numbers, 0 among them.
        detections: dicts with `image_id`, `category_id`, `bbox` xywh and `score`, as in a COCO results file.
        scoring: which library counts, and how many answers; None for the defaults.
        replicates: bootstrap draws over pictures.

    Returns:
        The twelve numbers, None where the data has nothing to measure (COCO's -1), and all else that the metric finds.

    Raises:
        InputError: a detection for a picture, or of a class, that isn't there.
    """
    return scored(columns_of_coco(gt, detections), scoring or DetectionScoring(), replicates)


def columns_of_coco(gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Columns:
    """Bring COCO's lists into columns, pictures and classes in the order of their ids.

    Args:
        gt: as for `coco_scores`.
        detections: as for `coco_scores`.

    Raises:
        InputError: a detection for a picture, or of a class, that isn't there.
    """
    categories = sorted(gt["categories"], key=lambda category: category["id"])
    picture = {identity: place for place, identity in enumerate(sorted(image["id"] for image in gt["images"]))}
    label = {category["id"]: index for index, category in enumerate(categories)}
    for name, known, what in (("image_id", picture, "pictures"), ("category_id", label, "classes")):
        strangers = sorted({str(entry[name]) for entry in detections if entry[name] not in known})
        if strangers:
            raise InputError(f"detections name {len(strangers)} {what} that the ground truth doesn't have: {', '.join(strangers[:8])}")
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
