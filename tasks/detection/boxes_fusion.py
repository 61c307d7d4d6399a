"""Weighted boxes fusion: the boxes of several detectors, or of several views of a picture, made into one set.

Solovyev, Wang & Gabruseva 2021, "Weighted boxes fusion: ensembling boxes from different object detection models",
https://doi.org/10.1016/j.imavis.2021.104117; equal to the authors' package `ensemble-boxes` 1.0.9, which isn't used because it
needs numba and pandas (hundreds of megabytes) for what is forty lines here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MATCH_IOU = 0.55  # above it boxes of one class are one object; the paper's
_LEAST = 1e-12  # of a score, so that boxes without any still have a mean


def fuse(answers: Sequence[Mapping[str, NDArray[Any]]], match_iou: float = MATCH_IOU) -> dict[str, NDArray[Any]]:
    """Fuse the answers of several detectors for one picture.

    Boxes of one class that overlap become their mean, weighted by score. Its score is the mean of theirs, lowered in the measure
    that fewer boxes than detectors took part.

    Args:
        answers: `boxes` [N, 4] xyxy in pixels, `scores` [N], `labels` [N] of each detector.
        match_iou: boxes that overlap by more are one object.

    Returns:
        The same, float32, float32 and int64, with descending scores.
    """
    boxes = np.concatenate([np.asarray(answer["boxes"], np.float64).reshape(-1, 4) for answer in answers])
    scores = np.concatenate([np.asarray(answer["scores"], np.float64) for answer in answers])
    labels = np.concatenate([np.asarray(answer["labels"], np.int64) for answer in answers])
    order = np.argsort(-scores, kind="stable")
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    parts = [(*_fuse_class(boxes[labels == label], scores[labels == label], len(answers), match_iou), label) for label in np.unique(labels)]
    if not parts:
        return {"boxes": np.zeros((0, 4), np.float32), "scores": np.zeros(0, np.float32), "labels": np.zeros(0, np.int64)}
    fused_scores = np.concatenate([part[1] for part in parts]).astype(np.float32)
    ranked = np.argsort(-fused_scores, kind="stable")
    return {
        "boxes": np.concatenate([part[0] for part in parts]).astype(np.float32)[ranked],
        "scores": fused_scores[ranked],
        "labels": np.concatenate([np.full(len(part[1]), part[2], np.int64) for part in parts])[ranked],
    }


def mirror(answer: Mapping[str, NDArray[Any]], width: int) -> dict[str, NDArray[Any]]:
    """Return boxes that were found in the mirror image of a picture so many pixels wide, in the picture itself."""
    left, top, right, bottom = np.asarray(answer["boxes"], np.float32).reshape(-1, 4).T
    return {**answer, "boxes": np.stack([width - right, top, width - left, bottom], axis=1)}


def _fuse_class(boxes: Floats, scores: Floats, detectors: int, match_iou: float) -> tuple[Floats, Floats]:
    """Fuse boxes [N, 4] of one class, in descending order of their scores [N]."""
    fused, sums = np.empty((len(boxes), 4)), np.zeros((len(boxes), 4))  # of each cluster: its box, and Σ score · box
    weight, total, members = np.zeros(len(boxes)), np.zeros(len(boxes)), np.zeros(len(boxes), np.int64)
    count = 0
    for box, score in zip(boxes, scores, strict=True):
        overlap = _iou(fused[:count], box)
        best = int(overlap.argmax()) if count else 0
        if not count or overlap[best] <= match_iou:
            best, count = count, count + 1
        share = max(float(score), _LEAST)
        sums[best] += share * box
        weight[best] += share
        total[best] += score
        members[best] += 1
        fused[best] = box if members[best] == 1 else sums[best] / weight[best]
    members = members[:count]
    return fused[:count], total[:count] / members * np.minimum(members, detectors) / detectors


def _iou(boxes: Floats, box: Floats) -> Floats:
    """Return the overlap of boxes [C, 4] with one box [4]; of boxes without area 0."""
    sides = np.maximum(0, np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]))
    inter = sides.prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - inter
    return np.divide(inter, union, out=np.zeros(len(boxes)), where=union > 0)
