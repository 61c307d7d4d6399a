"""Name the architecture of weights that the zoo can't load, from the keys of their state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEYS = (
    (r"roi_heads\.mask_", "a Mask R-CNN of torchvision"),
    (r"roi_heads\.keypoint_", "a Keypoint R-CNN of torchvision"),
    (r"regression_head\.bbox_ctrness\.", "an FCOS detector of torchvision"),
    (r"head\.classification_head\.module_list\.", "an SSD or SSDlite detector of torchvision"),
    (r"head\.classification_head\.cls_logits\.", "a RetinaNet of torchvision"),
    (r"(^|\.)backbone\.body\.0\.0\.weight$", "a Faster R-CNN of torchvision on MobileNetV3"),
    (r"(^|\.)(proposal_generator|backbone\.bottom_up)\.", "a detector of detectron2"),
    (r"(^|\.)(rpn_head\.rpn_|roi_head\.|bbox_head\.)", "a detector of mmdetection"),
    (r"(^|\.)(class_embed|bbox_embed|query_embed|decoder\.query_pos)", "a DETR detector"),
    (r"(^|\.)model\.\d+\.(conv|cv\d|m\.\d)", "a YOLO model of Ultralytics"),
    (r"roi_heads\.box_predictor\.", "a Faster R-CNN with another backbone or without a feature pyramid"),
    (r"(^|\.)embedder\.embedder\.convolution\.", "a ResNet with the key names of Hugging Face transformers"),
    (r"(^|\.)features\.denseblock1\.", "a DenseNet"),
    (r"(^|\.)(cls_token|class_token|blocks\.0\.attn\.qkv|layers\.0\.blocks\.0\.attn)", "a vision transformer"),
    (r"(^|\.)classifier\.cbr\.", "an LR-ASPP model of torchvision"),
    (r"(^|\.)features\.\d+\.squeeze\.", "a SqueezeNet"),
    (r"(^|\.)features\.\d+\.\d+\.attn\.relative_position_bias_table", "a Swin transformer"),
    (r"(^|\.)features\.\d+\.\d+\.layer_scale", "a ConvNeXt"),
    (r"(^|\.)Mixed_5b\.", "an Inception v3"),
    (r"(^|\.)inception3a\.", "a GoogLeNet"),
    (r"(^|\.)stage2\.0\.branch[12]\.", "a ShuffleNet"),
    (r"(^|\.)trunk_output\.block1\.", "a RegNet"),
    (r"(^|\.)layers\.8\.0\.layers\.", "an MNASNet"),
    (r"(^|\.)downsample_layers\.|(^|\.)stages\.\d\.blocks\.\d\.(gamma|conv_dw)", "a ConvNeXt"),
    (r"(^|\.)(conv_stem|features\.0\.0)\.weight$", "a MobileNet or EfficientNet"),
    (r"(^|\.)features\.\d+\.weight$", "a VGG or AlexNet"),
)


def architecture(keys: Iterable[str]) -> str:
    """Return a description of the architecture with the key that shows it, or an empty string if the keys aren't known."""
    keys = list(keys)
    for pattern, name in _KEYS:
        if (key := next(filter(re.compile(pattern).search, keys), None)) is not None:
            return f"{name} ({key})"
    return ""
