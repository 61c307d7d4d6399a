"""Faster R-CNN on a feature pyramid, built from torchvision's modules, for any backbone with at least two levels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.poolers import initLevelMapper

from zoo.backbones import Features, Level
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch
from zoo.task.head import Head, HeadNetwork, HeadSpec, Losses, Step, Tensors
from zoo.tasks.detection.model.attributes import attribute_losses, checked_values
from zoo.tasks.detection.model.graph import propose, select
from zoo.tasks.detection.model.postprocessing import select_detections
from zoo.tasks.detection.model.proposals import proposal_network
from zoo.tasks.detection.model.roi_align import PyramidRoIAlign
from zoo.tasks.detection.options import DetectionOptions

_LARGEST_ANCHOR = 512
_ROI_CELLS = 7


@dataclass(frozen=True)
class _Maps:
    """Feature maps of the pyramid and the outputs of the RPN, one float32 tensor per pyramid level."""

    levels: list[Tensor]  # feature maps, [B, C, H, W] each
    objectness: list[Tensor]  # objectness logits, [B, A, H, W] each
    deltas: list[Tensor]  # deltas from anchors to boxes, [B, 4 A, H, W] each

    @classmethod
    def of(cls, tensors: Tensors) -> _Maps:
        """Split the output of `FasterRCNNHead.tensors`."""
        count = len(tensors) // 3
        maps = [tensor.float() for tensor in tensors]
        return cls(maps[:count], maps[count : 2 * count], maps[2 * count :])


class FasterRCNNHead(Head):
    """Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid (Lin et al. 2017, arXiv 1612.03144).

    On backbone levels of stride 4 to 32 and with the options of the full head, the outputs equal those of torchvision's
    `fasterrcnn_resnet50_fpn`, or of `fasterrcnn_resnet50_fpn_v2` with `head_version=2`. The parameters have torchvision's names (`fpn.*`,
    `rpn.*`, `roi_heads.*`), and those of attributes are `attribute_predictors.*`. In the public API, class labels start at 0; internally,
    0 is the background and the classes start at 1.
    """

    class_dependent: ClassVar[tuple[str, ...]] = ("roi_heads.box_predictor.", "attribute_predictors.")
    named_by: ClassVar[Mapping[str, str]] = {"attribute_predictors.": "attributes"}

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        if spec.num_classes < 1:
            raise InputError(f"detection needs at least one class, got {spec.num_classes}; pass classes= or num_classes=")
        options: DetectionOptions = spec.options
        assert options.fpn_channels is not None, "the task resolves the options"
        assert options.anchor_scale is not None
        levels = pyramid_levels(spec.levels)
        self._names = [level.name for level in levels]
        # add coarser levels, each with anchors twice as large: at least one, until the anchors span half of the image's shorter side
        enough = min(_LARGEST_ANCHOR, min(spec.preprocess.size_hw) / 2)
        self._pools = max(1, math.ceil(math.log2(enough / (options.anchor_scale * levels[-1].stride))))
        strides = [level.stride for level in levels] + [levels[-1].stride * 2**step for step in range(1, self._pools + 1)]
        self._num_classes = spec.num_classes
        self._channels = options.fpn_channels
        norm = nn.BatchNorm2d if options.head_version == 2 else None
        self.fpn = FeaturePyramidNetwork([level.channels for level in levels], options.fpn_channels, norm_layer=norm)
        self.rpn = proposal_network(strides, options)
        self.roi_heads = _box_heads(levels, spec.num_classes, options)
        self._attributes = {name: len(values) for name, values in (options.attributes or {}).items()}
        assert options.representation_size is not None
        # numbered, because modules can't have every name that an attribute can
        self.attribute_predictors = nn.ModuleList(nn.Linear(options.representation_size, size) for size in self._attributes.values())

    def tensors(self, features: Features) -> Tensors:
        """Return the feature maps of all pyramid levels, then their objectness logits, then their box deltas.

        The shapes for each level are [B, C, H, W], [B, A, H, W] and [B, 4 A, H, W], with A anchors per location.
        """
        pyramid: dict[str, Tensor] = self.fpn({name: features[name] for name in self._names})
        maps = list(pyramid.values())
        for _ in range(self._pools):
            # keep every other pixel, as Lin et al. compute P6 and torchvision's LastLevelMaxPool does
            maps.append(F.max_pool2d(maps[-1], kernel_size=1, stride=2))
        objectness, deltas = self.rpn.head(maps)
        return *maps, *objectness, *deltas

    def answered(self, tensors: Tensors, batch: ImageBatch) -> list[dict[str, Any]]:
        """Compute the detections of each image, in both training and evaluation mode.

        Returns:
            One dict per image: `boxes` [N, 4] float32, xyxy in pixels of the original image; `labels` [N] int64, from 0; `scores` [N]
            float32, in descending order. A model with attributes adds `attributes`: probabilities [N, values] float32 by attribute name.
        """
        maps = _Maps.of(tensors)
        proposals = self._propose(maps, batch)
        logits, deltas, attributes = self._classify(maps.levels, proposals, batch)
        with _full_precision(logits):
            detections = select_detections(self.roi_heads, logits, deltas, proposals, batch.sizes_hw)
            answers: list[dict[str, Any]] = []
            for (boxes, scores, labels, rows), *sizes in zip(detections, batch.sizes_hw, batch.original_sizes_hw, strict=True):
                answers.append({"boxes": resize_boxes(boxes, *sizes), "labels": labels - 1, "scores": scores})
                if attributes:
                    answers[-1]["attributes"] = {name: values[rows].softmax(1) for name, values in attributes.items()}
        return answers

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return the four losses of Faster R-CNN, with torchvision's names, and a loss `loss_attribute_NAME` for each attribute.

        `targets` has one dict per image: `boxes` [N, 4], xyxy in pixels of the original image, and `labels` [N], from 0. N may be 0.
        The optional boolean arrays `iscrowd` and `difficult`, [N] each, mark boxes that are excluded from training. The optional
        `attribute:NAME` are the indices of the boxes' values of an attribute, [N] each; -1 for unknown values.
        """
        inside = self._targets(targets, batch)
        maps = _Maps.of(self.tensors(features))
        proposals = self._propose(maps, batch)
        with _full_precision(batch.pixels):
            objectness, rpn_box_reg = self._rpn_losses(maps, batch, inside)
            boxes, matched, labels, box_targets = self.roi_heads.select_training_samples(proposals, inside)
        logits, deltas, attributes = self._classify(maps.levels, boxes, batch)
        with _full_precision(logits):
            classifier, box_reg = fastrcnn_loss(logits, deltas, labels, box_targets)
            more = attribute_losses(attributes, [target["attributes"] for target in inside], matched, labels)
        losses = {"loss_classifier": classifier, "loss_box_reg": box_reg, "loss_objectness": objectness, "loss_rpn_box_reg": rpn_box_reg}
        return losses | more

    def networks(self) -> dict[str, HeadNetwork]:
        """Return the fully connected layers of the second stage."""
        return {"boxes": _SecondStage(self.roi_heads, self.attribute_predictors, (self._channels, _ROI_CELLS, _ROI_CELLS))}

    @property
    def answer_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the outputs of an export with one graph."""
        return "boxes", "scores", "labels", "counts", *(f"attribute_{name}" for name in self._attributes)

    def steps(self) -> list[Step]:
        """Return the proposals and their pooling, the second stage, and the selection of detections."""
        count = 3 * (len(self._names) + self._pools)
        rows, attributes = ("rows", "around", "proposals"), tuple(f"attribute{place}" for place in range(len(self._attributes)))
        pooled = Step(
            (*(f"tensor{place}" for place in range(count)), "padded_hw", "frame"), ("pooled", *rows), propose(self.rpn, self.roi_heads)
        )
        second = Step(("pooled",), ("logits", "deltas", *attributes), network="boxes")
        return [pooled, second, Step((*second.outputs, *rows, "frame"), self.answer_names, select(self.roi_heads, self._attributes))]

    def from_outputs(self, outputs: Tensors, batch: ImageBatch) -> list[dict[str, Any]]:
        """Return the detections of each image, without the padding; boxes in pixels of the original images."""
        boxes, scores, labels, counts, *attributes = outputs
        answers: list[dict[str, Any]] = []
        for image, (count, *sizes) in enumerate(zip(counts.tolist(), batch.sizes_hw, batch.original_sizes_hw, strict=True)):
            found = {"boxes": resize_boxes(boxes[image, :count], *sizes), "labels": labels[image, :count], "scores": scores[image, :count]}
            named = {name: values[image, :count] for name, values in zip(self._attributes, attributes, strict=True)}
            answers.append({**found, **({"attributes": named} if named else {})})
        return answers

    def _propose(self, maps: _Maps, batch: ImageBatch) -> list[Tensor]:
        """Return the proposals of each image: [P, 4] xyxy in pixels of the preprocessed image."""
        # the second stage treats proposals as constants (approximate joint training, section 3.2 of Ren et al.)
        with torch.no_grad(), _full_precision(batch.pixels):  # bf16 has 8 significant bits, too few for coordinates of hundreds of pixels
            return self.rpn.propose(maps.objectness, maps.deltas, batch)

    def _rpn_losses(self, maps: _Maps, batch: ImageBatch, targets: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        anchors = self.rpn.anchor_generator(ImageList(batch.pixels, list(batch.sizes_hw)), maps.levels)
        objectness, deltas = concat_box_prediction_layers(list(maps.objectness), list(maps.deltas))
        labels, matched = self.rpn.assign_targets_to_anchors(anchors, targets)
        wanted = self.rpn.box_coder.encode(matched, anchors)
        return self.rpn.compute_loss(objectness, deltas, labels, wanted)  # type: ignore[no-any-return]  # torchvision is untyped

    def _classify(self, levels: list[Tensor], boxes: list[Tensor], batch: ImageBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Classify the P proposals of all images together.

        Returns:
            Class logits [P, K + 1], box deltas [P, 4 (K + 1)], and logits of each attribute's values by name, [P, values]; in float32.
        """
        pyramid = dict(zip(self._names, levels, strict=False))  # the added coarser levels are used only for proposals
        with _full_precision(boxes[0]):
            pooled = self.roi_heads.box_roi_pool(pyramid, boxes, list(batch.sizes_hw))
        logits, deltas, *attributes = (tensor.float() for tensor in self.call("boxes", pooled))
        return logits, deltas, dict(zip(self._attributes, attributes, strict=True))

    def _targets(self, targets: Sequence[Mapping[str, Any]], batch: ImageBatch) -> list[dict[str, Any]]:
        """Convert targets to pixels of the preprocessed images, and shift labels by 1 because class 0 is the background."""
        if len(targets) != len(batch):
            raise InputError(f"detection: {len(targets)} targets for {len(batch)} images; expected one target per image")
        sizes = zip(batch.sizes_hw, batch.original_sizes_hw, strict=True)
        return [self._target(target, *pair, batch.pixels.device) for target, pair in zip(targets, sizes, strict=True)]

    def _target(
        self, target: Mapping[str, Any], size_hw: tuple[int, int], original_hw: tuple[int, int], device: torch.device
    ) -> dict[str, Any]:
        boxes = torch.as_tensor(target["boxes"], dtype=torch.float32, device=device).reshape(-1, 4)
        labels = torch.as_tensor(target["labels"], dtype=torch.int64, device=device)
        if labels.shape != (len(boxes),):
            raise InputError(
                f"detection: a target has {len(boxes)} boxes and labels of shape {tuple(labels.shape)}; expected one label per box"
            )
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self._num_classes:
            raise InputError(
                f"detection: labels range from {int(labels.min())} to {int(labels.max())}; expected 0 to {self._num_classes - 1}"
            )
        keep = torch.ones(len(boxes), dtype=torch.bool, device=device)
        for name in ("iscrowd", "difficult"):
            if name in target:
                keep &= ~torch.as_tensor(target[name], dtype=torch.bool, device=device)
        values = checked_values(target, self._attributes, len(boxes), device)
        return {
            "boxes": resize_boxes(boxes[keep], original_hw, size_hw),
            "labels": labels[keep] + 1,
            "attributes": {name: indices[keep] for name, indices in values.items()},
        }


class _SecondStage(HeadNetwork):
    """Layers of the box head, from RoI features [P, C, 7, 7] to the class logits, box deltas and attribute logits of `_classify`."""

    def __init__(self, heads: RoIHeads, attribute_predictors: nn.ModuleList, row_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.box_head, self.box_predictor, self.row_shape = heads.box_head, heads.box_predictor, row_shape
        self.attribute_predictors = attribute_predictors

    def forward(self, pooled: Tensor) -> Tensors:
        features = self.box_head(pooled)
        logits, deltas = self.box_predictor(features)
        return logits, deltas, *(predict(features) for predict in self.attribute_predictors)


def pyramid_levels(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Return the backbone levels from which the pyramid is built: two or more, each with twice the stride of the previous one.

    A level at the input's resolution (such as the first level of the CIFAR ResNets) is skipped if at least two other levels remain. It
    would hold most of the anchors, none larger than 8 pixels, and cost more than all other levels together.
    """
    coarse = tuple(level for level in levels if level.stride > 1)
    chosen = coarse if len(coarse) >= 2 else tuple(levels)
    strides = [level.stride for level in chosen]
    doubles = all(fine * 2 == coarser for fine, coarser in itertools.pairwise(strides))
    if len(chosen) < 2 or not doubles or strides[0] & (strides[0] - 1):
        raise InputError(
            f"detection: the backbone's levels have the strides {', '.join(str(level.stride) for level in levels)}; a feature "
            "pyramid needs at least two levels whose strides are powers of 2, each twice the previous one. Choose another backbone"
        )
    return chosen


def _box_heads(levels: Sequence[Level], num_classes: int, options: DetectionOptions) -> RoIHeads:
    assert options.fpn_channels is not None
    assert options.representation_size is not None
    channels, width = options.fpn_channels, options.representation_size
    head: nn.Module
    if options.head_version == 2:
        head = FastRCNNConvFCHead((channels, _ROI_CELLS, _ROI_CELLS), [channels] * 4, [width], norm_layer=nn.BatchNorm2d)
    else:
        head = TwoMLPHead(channels * _ROI_CELLS**2, width)
    return RoIHeads(
        _roi_pool(levels),
        head,
        FastRCNNPredictor(width, num_classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=options.roi_batch,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=options.score_threshold,
        nms_thresh=options.nms_threshold,
        detections_per_img=options.max_detections,
    )


def _roi_pool(levels: Sequence[Level]) -> PyramidRoIAlign:
    pool = PyramidRoIAlign([level.name for level in levels], output_size=_ROI_CELLS, sampling_ratio=2)
    # use the declared strides: torchvision would infer them from the first batch, and incorrectly if images are much smaller than the
    # padded batch. Proposals of 224 pixels are pooled from the level of stride 16 (equation 1 of Lin et al. 2017)
    pool.scales = [1 / level.stride for level in levels]
    finest, coarsest = (int(math.log2(level.stride)) for level in (levels[0], levels[-1]))
    pool.map_levels = initLevelMapper(finest, coarsest, canonical_scale=pool.canonical_scale, canonical_level=pool.canonical_level)
    return pool


def _full_precision(tensor: Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)
