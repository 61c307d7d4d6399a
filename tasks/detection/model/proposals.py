"""First stage of Faster R-CNN: torchvision's region proposal network, with faster decoding of boxes and faster suppression on CPUs.

The final per-class suppression of detections is that of torchvision's `RoIHeads`, called in `tasks/detection/model/head.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision import ops
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from zoo.images.preprocess import ImageBatch
from zoo.kernels.library import address, library, sizes
from zoo.tasks.detection.options import DetectionOptions

_RATIOS = (0.5, 1.0, 2.0)  # height to width
_APART = 4000  # maximum number of coordinates for which torchvision shifts the groups on CPUs


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's region proposal network (Ren et al. 2015, arXiv 1506.01497), with equal results in less time."""

    def propose(self, objectness: Sequence[Tensor], deltas: Sequence[Tensor], batch: ImageBatch) -> list[Tensor]:
        """Return the proposals of each image, [P, 4] xyxy in pixels of the preprocessed image, in descending order of objectness.

        The anchors with the highest objectness of each level are selected first, and only their boxes are decoded. For a photo of
        800×1066 pixels, this decodes 4,000 boxes instead of 213,000.

        Args:
            objectness: objectness logits of each level, [B, A, H, W].
            deltas: deltas from anchors to boxes of each level, [B, 4 A, H, W].
            batch: preprocessed images.
        """
        self.anchor_generator.set_cell_anchors(deltas[0].dtype, deltas[0].device)
        cells = self.anchor_generator.cell_anchors
        levels = [self._best(anchors, *maps, batch) for anchors, maps in zip(cells, zip(objectness, deltas, strict=True), strict=True)]
        boxes, logits = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        level_of = torch.cat([torch.full((found.shape[1],), level, device=boxes.device) for level, (_, found) in enumerate(levels)])
        pictures = zip(boxes, logits.sigmoid(), batch.sizes_hw, strict=True)
        return [self._distinct(found, scores, level_of, size) for found, scores, size in pictures]

    def _best(self, anchors: Tensor, objectness: Tensor, deltas: Tensor, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Return the K boxes of one level with the highest objectness, [B, K, 4] xyxy, and their logits, [B, K]."""
        count, shapes, rows, columns = objectness.shape
        height, width = batch.pixels.shape[-2:]
        in_order = objectness.permute(0, 2, 3, 1).reshape(count, -1)
        best, places = in_order.topk(min(self.pre_nms_top_n(), in_order.shape[1]), dim=1)
        moves = deltas.view(count, shapes, 4, rows, columns).permute(0, 3, 4, 1, 2).reshape(count, -1, 4)
        chosen = moves.gather(1, places[..., None].expand(-1, -1, 4))
        cells = places.div(shapes, rounding_mode="floor")
        corner = torch.stack((cells % columns * (width // columns), cells.div(columns, rounding_mode="floor") * (height // rows)), 2)
        around = corner.repeat(1, 1, 2) + anchors[places % shapes]
        boxes: Tensor = self.box_coder.decode_single(chosen.reshape(-1, 4), around.reshape(-1, 4))
        return boxes.view(count, -1, 4), best

    def _distinct(self, boxes: Tensor, scores: Tensor, level_of: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Clip the boxes of one image, suppress overlapping ones, and return the rest in descending order of score."""
        boxes = ops.clip_boxes_to_image(boxes, size_hw)
        kept = ops.remove_small_boxes(boxes, self.min_size)
        kept = kept[scores[kept] >= self.score_thresh]
        boxes = boxes[kept]
        return boxes[batched_nms(boxes, scores[kept], level_of[kept], self.nms_thresh)[: self.post_nms_top_n()]]


def proposal_network(strides: Sequence[int], options: DetectionOptions) -> ProposalNetwork:
    """Build the region proposal network for pyramid levels of the given strides."""
    assert options.fpn_channels is not None
    assert options.pre_nms_proposals is not None
    assert options.proposals is not None
    assert options.anchor_scale is not None
    anchors = AnchorGenerator(tuple((options.anchor_scale * stride,) for stride in strides), (_RATIOS,) * len(strides))
    return ProposalNetwork(
        anchors,
        RPNHead(options.fpn_channels, len(_RATIOS), conv_depth=options.head_version),  # as many convolutions as the version's number
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * options.pre_nms_proposals, "testing": options.pre_nms_proposals},
        post_nms_top_n={"training": 2 * options.proposals, "testing": options.proposals},
        nms_thresh=0.7,
    )


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Suppress boxes that overlap a higher-scoring box of their group, and return the indices of the others by descending score.

    The results equal those of torchvision's `batched_nms`, which is several times slower on CPUs. It is used on other devices, without a
    C++ compiler, and while a graph is exported. As in torchvision, groups are processed one after the other if there are many boxes;
    otherwise, they are shifted so that they don't overlap, and processed together. The number of boxes that decides between the two methods
    is also torchvision's, because shifting rounds the coordinates.

    Args:
        boxes: boxes, [N, 4] xyxy.
        scores: scores, [N].
        groups: group of each box, here its pyramid level, [N] int64.
        threshold: IoU above which the lower-scoring box is suppressed.
    """
    fits = boxes.device.type == "cpu" and boxes.dtype == torch.float32 and boxes.shape == (len(scores), 4) and scores.shape == groups.shape
    kernels = library("suppression") if fits and not torch.compiler.is_compiling() and not torchvision._is_tracing() else None
    if kernels is None:
        return ops.batched_nms(boxes, scores, groups, threshold)  # type: ignore[no-any-return]  # torchvision is untyped
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
