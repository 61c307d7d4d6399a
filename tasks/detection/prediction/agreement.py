"""How much of two detectors' answers for one picture is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

_SURE = 0.5  # the score from which a box counts: those near the threshold of what is answered come and go
_SAME = 0.8  # IoU

Boxes = Mapping[str, NDArray[Any]]


def agreement(wanted: Boxes, got: Boxes) -> tuple[float, float]:
    """Return how many of both answers' boxes that score 0.5 or more the other one has too, at any score, and their number.

    Args:
        wanted: `boxes` [N, 4], `scores` [N], `labels` [N].
        got: likewise.
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
