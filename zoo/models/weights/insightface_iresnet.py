"""Key layout of InsightFace's IResNets (`backbone.pth` of arcface_torch): the backbone's names, then `bn2`, `fc` and `features`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.models.weights import LAYOUTS, Layout, State, Weights, split_prefix

_FAMILY = "InsightFace IResNet"
_HEAD = {"bn2": "bn", "fc": "fc", "features": "norm"}  # key prefixes: InsightFace's to the zoo head's
_PLACES = 16  # stride of the last feature map


def _recognise(state: Mapping[str, Tensor], backbone: str) -> bool:
    return backbone in BACKBONES and BACKBONES[backbone].family == _FAMILY and "layer1.0.prelu.weight" in state


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    head: State = {}
    trunk = dict(state)
    for theirs, ours in _HEAD.items():
        inside, trunk = split_prefix(trunk, f"{theirs}.")
        head |= {f"{ours}.{key}": value for key, value in inside.items()}
    if not head:
        return Weights(origin, trunk)
    if not {"fc.weight", "norm.weight", "bn.weight"} <= set(head):
        raise WeightsError(
            f"weights {origin}: only some of the final layers bn2, fc and features of an IResNet are present: {', '.join(head)}"
        )
    size, inputs = head["fc.weight"].shape
    side = math.isqrt(inputs // len(head["bn.weight"]))
    return Weights(
        origin,
        trunk,
        head,
        "face",
        options={
            "neck": "flat",
            "embedding_size": size,
            "image_size": side * _PLACES,
            "alignment": "arcface",
            "distance": "cosine",
        },
    )


LAYOUTS.add("insightface", Layout("InsightFace IResNet", _recognise, _convert))
