"""Key layout of torchvision's Faster R-CNN on ResNets, version 1 and 2: `backbone.body.*`, `backbone.fpn.*`, `rpn.*`, `roi_heads.*`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from zoo.errors import WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.weights.architectures import architecture
from zoo.models.weights.layouts import LAYOUTS, Layout, State, Weights, split_prefix, without_net

_HEAD = ("fpn.", "rpn.", "roi_heads.")
# until torchvision 0.13, the convolutions of FPN and RPN were not wrapped in blocks
_OLD = (
    (re.compile(r"^(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)
_CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
_OBJECTNESS = "rpn.head.cls_logits.weight"
_HIDDEN = {1: "roi_heads.box_head.fc6.weight", 2: "roi_heads.box_head.5.weight"}  # first hidden layer of the box head, by version
_ANCHORS = 3  # per location: the aspect ratios 0.5, 1 and 2
# these weights were trained when torchvision's frozen batch-norm had no epsilon, so torchvision sets it to 0 for them (vision#2933)
_WITHOUT_EPSILON = re.compile(r"(FasterRCNN_ResNet50_FPN_Weights\.COCO_V1|fasterrcnn_resnet50_fpn_coco-258fb6c6\.pth)$")


def split_keys(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """Split the state dict of a torchvision Faster R-CNN, in its old or new key names, into those of the backbone and the head.

    The backbone has torchvision's (and timm's) ResNet names, and the head those of the zoo's detection head.
    """
    trunk, rest = split_prefix(state, "backbone.body.")
    head: State = {}
    for key, value in rest.items():
        name = key.removeprefix("backbone.")
        for old, new in _OLD:
            name = old.sub(new, name)
        head[name] = value
    strangers = [key for key in head if not key.startswith(_HEAD) or key.startswith(("roi_heads.mask_", "roi_heads.keypoint_"))]
    if strangers:
        raise WeightsError(f"{len(strangers)} keys don't belong to a Faster R-CNN: {', '.join(strangers[:6])}")
    return trunk, head


@functools.cache
def coco_classes() -> tuple[str, ...]:
    """Return the names of COCO's category ids 1 to 90, which are the labels of torchvision's detectors. Unused ids get "N/A (id …)"."""
    names: list[str] = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return tuple(f"N/A (id {number})" if name == "N/A" else name for number, name in enumerate(names) if number > 0)


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    if what := _difference(state):
        raise WeightsError(
            f"weights {origin}: the file contains {what}, but the zoo's detector is a Faster R-CNN with a feature pyramid and {_ANCHORS} "
            "anchors per location. Pass the weights of torchvision's fasterrcnn_resnet50_fpn or fasterrcnn_resnet50_fpn_v2"
        )
    try:
        trunk, head = split_keys(state)
    except WeightsError as error:
        raise WeightsError(f"weights {origin}: {error}") from error
    count = len(state[_CLASSIFIER]) - 1
    version = next(version for version, key in _HIDDEN.items() if key in state)
    return Weights(
        origin,
        {f"net.{key}": value for key, value in trunk.items()},
        head,
        "detection",
        count,
        coco_classes() if count == len(coco_classes()) else (),
        preprocess=Preprocess(policy="fit", size_hw=(800, 1333), interpolation="bilinear", antialias=False),
        norm_eps=0.0 if _WITHOUT_EPSILON.search(origin) else None,
        options={
            "image_size": 800,
            "max_image_size": 1333,
            "fpn_channels": state[_OBJECTNESS].shape[1],
            "representation_size": len(state[_HIDDEN[version]]),
            "pre_nms_proposals": 1000,
            "proposals": 1000,
            "roi_batch": 512,
            "anchor_scale": 8,
            "head_version": version,
        },
    )


def _difference(state: Mapping[str, Tensor]) -> str:
    """Return a description of a torchvision detector that the zoo can't build, with the key that shows it; "" if it can build it."""
    if _CLASSIFIER not in state or any(key.startswith(("roi_heads.mask_", "roi_heads.keypoint_")) for key in state):
        return architecture(state) or f"a detector without the key {_CLASSIFIER}"
    if not any(key.startswith("backbone.fpn.") for key in state):
        return "a Faster R-CNN without a feature pyramid (no key backbone.fpn.…)"
    if _OBJECTNESS not in state or (anchors := len(state[_OBJECTNESS])) != _ANCHORS:
        return f"a Faster R-CNN with {anchors} anchors per location ({_OBJECTNESS})" if _OBJECTNESS in state else f"no {_OBJECTNESS}"
    if not any(key in state for key in _HIDDEN.values()):
        return f"a Faster R-CNN with another box head (none of the keys {', '.join(_HIDDEN.values())})"
    return ""


LAYOUTS.add(
    "torchvision_detection",
    Layout("torchvision Faster R-CNN", "timm resnet", lambda key: f"backbone.body.{without_net(key)}", _convert),
)
