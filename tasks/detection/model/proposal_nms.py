"""Non-maximum suppression (NMS) of region proposals: several times faster on CPUs than torchvision's, with identical results.

This is the NMS of the first stage, used in `tasks/detection/model/proposals.py`. The final per-class NMS of detections is that of
torchvision's `RoIHeads`, called in `tasks/detection/model/head.py`.

Boxes are suppressed only within their group, here the pyramid level. As in torchvision's `batched_nms`, groups are processed one after the
other if there are many boxes; otherwise, the groups are shifted so that they don't overlap, and processed together. The number of boxes
that decides between the two methods is also torchvision's, because shifting rounds the coordinates.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision import ops

from zoo.kernels.library import address, library, sizes

_APART = 4000  # maximum number of coordinates for which torchvision shifts the groups on CPUs


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Suppress boxes that overlap a higher-scoring box of their group, and return the indices of the other boxes.

    torchvision's operator is used on other devices, without a C++ compiler, and while a graph is exported.

    Args:
        boxes: boxes, [N, 4] xyxy.
        scores: scores, [N].
        groups: group of each box, [N] int64.
        threshold: IoU above which the lower-scoring box is suppressed.

    Returns:
        The indices of the kept boxes, in descending order of score.
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
    """Return the indices of the kept boxes of a single group, in descending order of score."""
    order = scores.sort(descending=True, stable=True).indices
    kept = np.empty(len(boxes), np.bool_)
    kernels.zoo_suppress(address(boxes[order].contiguous()), *sizes(len(boxes)), ctypes.c_double(threshold), address(kept))
    return order[torch.from_numpy(kept)]
