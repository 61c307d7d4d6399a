"""Non-maximum suppression on a processor, several times as quick as torchvision's kernel there, which keeps the same boxes to the last bit.

Several groups are told apart as in torchvision's `batched_nms`: one after the other where there are many boxes, and otherwise moved apart,
by the same rule, because the second way rounds.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision import ops

from zoo.kernels.library import address, library, sizes

_APART = 4000  # coordinates, up to which torchvision moves the boxes of groups apart on a processor


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Leave out boxes that overlap a better one of their group.

    Args:
        boxes: [N, 4] xyxy.
        scores: [N].
        groups: [N] int64.
        threshold: the IoU above which two boxes are of one object.

    Where a graph is exported, it is torchvision's.

    Returns:
        Positions of the others, by descending score.
    """
    fits = boxes.device.type == "cpu" and boxes.dtype == torch.float32 and boxes.shape == (len(scores), 4) and scores.shape == groups.shape
    kernels = library("suppression") if fits and not torch.compiler.is_compiling() and not torchvision._is_tracing() else None
    if kernels is None:
        found: Tensor = ops.batched_nms(boxes, scores, groups, threshold)
        return found
    if boxes.numel() <= _APART:
        apart = groups.to(boxes) * (boxes.max() + 1) if len(boxes) else boxes[:, 0]
        return _kept(kernels, boxes + apart[:, None], scores, threshold)
    places = [torch.where(groups == group)[0] for group in torch.unique(groups)]
    kept = torch.cat([place[_kept(kernels, boxes[place], scores[place], threshold)] for place in places]).sort().values
    return kept[scores[kept].sort(descending=True).indices]


def _kept(kernels: ctypes.CDLL, boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return the positions of boxes of one group that are kept, by descending score."""
    order = scores.sort(descending=True, stable=True).indices
    kept = np.empty(len(boxes), np.bool_)
    kernels.zoo_suppress(address(boxes[order].contiguous()), *sizes(len(boxes)), ctypes.c_double(threshold), address(kept))
    return order[torch.from_numpy(kept)]
