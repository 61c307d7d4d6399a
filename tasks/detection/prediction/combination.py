"""Several detectors' boxes in one picture: weighted boxes fusion (Solovyev, Wang & Gabruseva 2021, arXiv 1910.13302)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.combination import Combination

IOU = 0.55  # the paper's: boxes of a class that overlap by more show one object

Boxes = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]


class BoxCombination(Combination):
    """Weighted boxes fusion over the views of a model, and over models."""

    scales = (0.8, 1.0, 1.25)

    def recounted(self, answer: Boxes, new_index: Sequence[int]) -> Boxes:
        """Return the boxes with the ensemble's labels."""
        return {**answer, "labels": np.asarray(new_index, np.int64)[answer["labels"]]}

    def mirrored(self, answer: Boxes, size_hw: tuple[int, int]) -> Boxes:
        """Return the boxes where they are in the picture that was mirrored."""
        x1, y1, x2, y2 = answer["boxes"].T
        return {**answer, "boxes": np.stack([size_hw[1] - x2, y1, size_hw[1] - x1, y2], axis=1)}

    def views(self, answers: Sequence[Boxes]) -> Boxes:
        """Return the fused boxes."""
        return fuse(answers)

    def models(self, answers: Sequence[Boxes], vote: str, weights: Sequence[float]) -> Boxes:
        """Return the fused boxes; every model counts the same."""
        return fuse(answers)


def fuse(answers: Sequence[Boxes], iou: float = IOU) -> Boxes:
    """Return one set of boxes out of several (section 3 of the paper).

    Boxes of a class are taken in the order of their scores. Each joins the fused box that it overlaps most, where that is by more
    than `iou`, or starts a new one. A fused box lies at the mean of its boxes weighted by their scores; its score is their mean
    score, less where not every answer has such a box: times min(boxes, answers) / answers (equation 5).

    Args:
        answers: per model `boxes` [N, 4] xyxy in pixels, `scores` [N] and `labels` [N]; N may be 0.
        iou: from 0 to 1.

    Returns:
        The same, as float32 and int64, with descending scores.
    """
    boxes = np.concatenate([answer["boxes"] for answer in answers]).astype(np.float64).reshape(-1, 4)
    scores = np.concatenate([answer["scores"] for answer in answers]).astype(np.float64)
    labels = np.concatenate([answer["labels"] for answer in answers]).astype(np.int64)
    order = np.argsort(-scores, kind="stable")  # of equal scores the earlier model's first
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    parts = [(label, *_fuse_class(boxes[labels == label], scores[labels == label], iou)) for label in np.unique(labels)]
    fused = np.concatenate([np.empty((0, 4)), *(found for _, found, _, _ in parts)])
    means = np.concatenate([np.empty(0), *(mean * np.minimum(count, len(answers)) / len(answers) for _, _, mean, count in parts)])
    names = np.concatenate([np.empty(0, np.int64), *(np.full(len(mean), label) for label, _, mean, _ in parts)])
    order = np.argsort(-means, kind="stable")
    return {"boxes": fused[order].astype(np.float32), "scores": means[order].astype(np.float32), "labels": names[order]}


def _fuse_class(boxes: Floats, scores: Floats, iou: float) -> tuple[Floats, Floats, Floats]:
    """Return fused boxes [F, 4], the mean scores of their members [F] and the numbers of members [F], of one class's sorted boxes."""
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
    """Return the overlap [F] of a box [4] with others [F, 4], all xyxy."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(1)
    together = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.asarray(np.divide(shared, together, out=np.zeros_like(shared), where=together > 0))
