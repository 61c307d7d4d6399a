"""Agreement between the detections of two models in one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

_SURE = 0.5  # minimum score of a box that counts: boxes near the detector's score threshold come and go
_SAME = 0.8  # IoU

Boxes = Mapping[str, NDArray[Any]]


def agreement(wanted: Boxes, got: Boxes) -> tuple[float, float]:
    """Count the boxes with a score of 0.5 or more in either answer: those also in the other one, at any score, and all of them.

    Args:
        wanted: expected answer: `boxes` [N, 4], `scores` [N] and `labels` [N].
        got: answer to compare, in the same form.
    """
    found = [_found(wanted, got), _found(got, wanted)]
    return sum(same for same, _ in found), sum(count for _, count in found)


def _found(answer: Boxes, other: Boxes) -> tuple[float, float]:
    sure = answer["scores"] >= _SURE
    if not sure.any() or not len(other["boxes"]):
        return 0.0, float(sure.sum())
    overlap = box_iou(torch.from_numpy(answer["boxes"][sure]), torch.from_numpy(other["boxes"])).numpy()
    same = (overlap >= _SAME) & (answer["labels"][sure][:, None] == other["labels"][None])
    return float(same.any(1).sum()), float(sure.sum())
