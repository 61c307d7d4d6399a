"""Fusion of several sets of boxes in one image: weighted boxes fusion (Solovyev, Wang & Gabruseva 2021, arXiv 1910.13302)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.combination import Combination

IOU = 0.55  # threshold of the paper: boxes of a class that overlap more show one object

Boxes = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]


class BoxCombination(Combination):
    """Weighted boxes fusion over the views of a model, and over models."""

    scales = (0.8, 1.0, 1.25)

    def recounted(self, answer: Boxes, new_index: Sequence[int]) -> Boxes:
        """Return the boxes with the labels of the ensemble."""
        return {**answer, "labels": np.asarray(new_index, np.int64)[answer["labels"]]}

    def mirrored(self, answer: Boxes, size_hw: tuple[int, int]) -> Boxes:
        """Return the boxes mapped from the mirrored image back to the original one."""
        x1, y1, x2, y2 = answer["boxes"].T
        return {**answer, "boxes": np.stack([size_hw[1] - x2, y1, size_hw[1] - x1, y2], axis=1)}

    def views(self, answers: Sequence[Boxes]) -> Boxes:
        """Return the fused boxes."""
        return fuse(answers)

    def models(self, answers: Sequence[Boxes], vote: str, weights: Sequence[float]) -> Boxes:
        """Return the fused boxes; every model has the same weight."""
        return fuse(answers)


def fuse(answers: Sequence[Boxes], iou: float = IOU) -> Boxes:
    """Fuse several sets of boxes, xyxy in pixels, into one, with descending scores (section 3 of the paper).

    Boxes of a class are processed in descending order of score. Each joins the fused box that it overlaps most, if their IoU exceeds
    `iou`; otherwise it starts a new one. A fused box is the mean of its boxes, weighted by their scores. Its score is their mean
    score times min(boxes, answers) / answers, which lowers it if some answers lack such a box (equation 5).
    """
    boxes = np.concatenate([answer["boxes"] for answer in answers]).astype(np.float64).reshape(-1, 4)
    scores = np.concatenate([answer["scores"] for answer in answers]).astype(np.float64)
    labels = np.concatenate([answer["labels"] for answer in answers]).astype(np.int64)
    order = np.argsort(-scores, kind="stable")  # of equal scores, the earlier model's comes first
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    parts = [(label, *_fuse_class(boxes[labels == label], scores[labels == label], iou)) for label in np.unique(labels)]
    fused = np.concatenate([np.empty((0, 4)), *(found for _, found, _, _ in parts)])
    means = np.concatenate([np.empty(0), *(mean * np.minimum(count, len(answers)) / len(answers) for _, _, mean, count in parts)])
    names = np.concatenate([np.empty(0, np.int64), *(np.full(len(mean), label) for label, _, mean, _ in parts)])
    order = np.argsort(-means, kind="stable")
    return {"boxes": fused[order].astype(np.float32), "scores": means[order].astype(np.float32), "labels": names[order]}


def _fuse_class(boxes: Floats, scores: Floats, iou: float) -> tuple[Floats, Floats, Floats]:
    """Return fused boxes [F, 4], the mean scores [F] and the numbers [F] of their members, given one class's boxes sorted by score."""
    sums, weights, counts = np.zeros_like(boxes), np.zeros(len(boxes)), np.zeros(len(boxes))
    fused = np.zeros_like(boxes)  # only the first `made` rows are in use
    made = 0
    for box, score in zip(boxes, scores, strict=True):
        overlaps = _iou(box, fused[:made])
        place = int(overlaps.argmax()) if made and overlaps.max() > iou else made
        made = max(made, place + 1)
        sums[place] += score * box
        weights[place] += score
        counts[place] += 1
        fused[place] = sums[place] / weights[place] if weights[place] > 0 else box
    return fused[:made], weights[:made] / counts[:made], counts[:made]


def _iou(box: Floats, others: Floats) -> Floats:
    """Return the IoU [F] of a box [4] with other boxes [F, 4], all xyxy."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(1)
    together = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.asarray(np.divide(shared, together, out=np.zeros_like(shared), where=together > 0))
