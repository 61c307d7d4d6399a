"""Non-maximum suppression on CPUs, several times faster than torchvision's CPU kernel, keeping exactly the same boxes.

Groups are separated as in torchvision's `batched_nms`: processed one after the other if there are many boxes, otherwise moved apart.
The choice follows the same rule, because moving boxes rounds their coordinates.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision import ops

from zoo.kernels.library import address, library, sizes

_APART = 4000  # number of coordinates up to which torchvision moves the boxes of groups apart on CPUs


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return the indices of the boxes [N, 4] xyxy that overlap no higher-scoring one of their group, by descending score.

    While a graph is exported, torchvision's operator is used. `groups` is int64 [N], `threshold` an IoU.
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
    """Return the indices of the boxes of one group that are kept, by descending score."""
    order = scores.sort(descending=True, stable=True).indices
    kept = np.empty(len(boxes), np.bool_)
    kernels.zoo_suppress(address(boxes[order].contiguous()), *sizes(len(boxes)), ctypes.c_double(threshold), address(kept))
    return order[torch.from_numpy(kept)]
