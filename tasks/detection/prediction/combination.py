"""Fusion of several sets of boxes in one image: weighted boxes fusion (Solovyev, Wang & Gabruseva 2021, arXiv 1910.13302)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.combination import Combination

IOU = 0.55  # IoU above which boxes of a class are fused; the value of Solovyev et al.

Boxes = Mapping[str, Any]  # as in `detections`
Floats = NDArray[np.float64]


class BoxCombination(Combination):
    """Weighted boxes fusion of the predictions for several views of an image, or of several models."""

    scales = (0.8, 1.0, 1.25)

    def recounted(self, answer: Boxes, new_index: Sequence[int]) -> Boxes:
        """Return the boxes with their labels converted to class indices of the ensemble."""
        return {**answer, "labels": np.asarray(new_index, np.int64)[answer["labels"]]}

    def mirrored(self, answer: Boxes, size_hw: tuple[int, int]) -> Boxes:
        """Map boxes from a horizontally mirrored image back to the original image."""
        x1, y1, x2, y2 = answer["boxes"].T
        return {**answer, "boxes": np.stack([size_hw[1] - x2, y1, size_hw[1] - x1, y2], axis=1)}

    def views(self, answers: Sequence[Boxes]) -> Boxes:
        """Fuse the boxes that one model predicts for several views of an image."""
        return fuse(answers)

    def models(self, answers: Sequence[Boxes], vote: str, weights: Sequence[float]) -> Boxes:
        """Fuse the boxes that several models predict for an image. All models have the same weight."""
        return fuse(answers)


def fuse(answers: Sequence[Boxes], iou: float = IOU) -> Boxes:
    """Fuse several sets of boxes, xyxy in pixels, into one, in descending order of score (section 3 of Solovyev et al.).

    The boxes of a class are processed in descending order of score. Each is added to the cluster whose fused box it overlaps most, if their
    IoU exceeds `iou`; otherwise it starts a new cluster. The fused box is the mean of the cluster's boxes, weighted by their scores. Its
    score is the mean score of the cluster times min(number of boxes, number of sets) / number of sets. This factor lowers the score of
    objects that are missing from some sets (equation 5). The probabilities of attributes are averaged with the same weights as the boxes.
    """
    scores = np.concatenate([answer["scores"] for answer in answers]).astype(np.float64)
    labels = np.concatenate([answer["labels"] for answer in answers]).astype(np.int64)
    sizes = {name: values.shape[1] for name, values in answers[0].get("attributes", {}).items()}
    values = np.concatenate([np.column_stack([answer["boxes"], *answer.get("attributes", {}).values()]) for answer in answers])
    order = np.argsort(-scores, kind="stable")  # boxes with equal scores stay in the order of the sets
    values, scores, labels = values.astype(np.float64)[order], scores[order], labels[order]
    parts = [(label, *_fuse_class(values[labels == label], scores[labels == label], iou)) for label in np.unique(labels)]
    fused = np.concatenate([np.empty((0, values.shape[1])), *(found for _, found, _, _ in parts)])
    means = np.concatenate([np.empty(0), *(mean * np.minimum(count, len(answers)) / len(answers) for _, _, mean, count in parts)])
    names = np.concatenate([np.empty(0, np.int64), *(np.full(len(mean), label) for label, _, mean, _ in parts)])
    order = np.argsort(-means, kind="stable")
    ends = np.cumsum([4, *sizes.values()])
    found, *averaged = np.split(fused[order].astype(np.float32), ends[:-1], axis=1)
    result = {"boxes": found, "scores": means[order].astype(np.float32), "labels": names[order]}
    return result | ({"attributes": dict(zip(sizes, averaged, strict=True))} if sizes else {})


def _fuse_class(boxes: Floats, scores: Floats, iou: float) -> tuple[Floats, Floats, Floats]:
    """Fuse the boxes of one class, in descending order of score.

    `boxes` are [N, 4 + A], xyxy followed by A values to average. Return the fused boxes [F, 4 + A], their mean scores and box counts, [F].
    """
    sums, weights, counts = np.zeros_like(boxes), np.zeros(len(boxes)), np.zeros(len(boxes))
    fused = np.zeros_like(boxes)  # only the first `made` rows are in use
    made = 0
    for box, score in zip(boxes, scores, strict=True):
        overlaps = _iou(box[:4], fused[:made, :4])
        place = int(overlaps.argmax()) if made and overlaps.max() > iou else made
        made = max(made, place + 1)
        sums[place] += score * box
        weights[place] += score
        counts[place] += 1
        fused[place] = sums[place] / weights[place] if weights[place] > 0 else box
    return fused[:made], weights[:made] / counts[:made], counts[:made]


def _iou(box: Floats, others: Floats) -> Floats:
    """Return the IoU of a box [4] with each of the other boxes [F, 4], all xyxy."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(1)
    together = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.asarray(np.divide(shared, together, out=np.zeros_like(shared), where=together > 0))
