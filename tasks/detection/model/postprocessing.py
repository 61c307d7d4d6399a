"""Selection of the final detections among the classified proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops
from torchvision.models.detection.roi_heads import RoIHeads

from zoo.tasks.detection.model.proposals import batched_nms

LEAST_SIDE = 1e-2  # in pixels; smaller boxes are dropped, as in torchvision


def select_detections(
    heads: RoIHeads, logits: Tensor, deltas: Tensor, proposals: Sequence[Tensor], sizes_hw: Sequence[tuple[int, int]]
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return the detections of each image in descending order of score.

    Boxes, scores and labels equal those of torchvision's `RoIHeads.postprocess_detections`, which doesn't return the proposals.

    Args:
        heads: the module with the thresholds and the box coder.
        logits: class logits of the proposals of all images, [P, K + 1]; class 0 is the background.
        deltas: deltas from proposals to boxes for each class, [P, 4 (K + 1)].
        proposals: proposals of each image, [P_i, 4] xyxy in pixels of the preprocessed image.
        sizes_hw: height and width of each preprocessed image.

    Returns:
        Boxes [N, 4] xyxy in pixels of the preprocessed image, scores [N], labels [N] from 1, and the index of each detection's proposal
        among those of all images, [N] int64.
    """
    counts = [len(boxes) for boxes in proposals]
    decoded, scores = heads.box_coder.decode(deltas, list(proposals)), F.softmax(logits, -1)
    found, start = [], 0
    for boxes, score, size_hw in zip(torch.split(decoded, counts), torch.split(scores, counts), sizes_hw, strict=True):
        foreground = score[:, 1:]
        boxes = ops.clip_boxes_to_image(boxes, size_hw)[:, 1:].reshape(-1, 4)
        kept = torch.where(foreground.reshape(-1) > heads.score_thresh)[0]
        kept = kept[ops.remove_small_boxes(boxes[kept], LEAST_SIDE)]
        boxes, labels = boxes[kept], kept % foreground.shape[1] + 1
        best = batched_nms(boxes, foreground.reshape(-1)[kept], labels, heads.nms_thresh)[: heads.detections_per_img]
        proposal = start + kept[best].div(foreground.shape[1], rounding_mode="floor")
        found.append((boxes[best], foreground.reshape(-1)[kept[best]], labels[best], proposal))
        start += len(score)
    return found
