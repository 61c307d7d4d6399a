"""Key layout of timm, which for plain ResNets is also torchvision's."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.models.weights import LAYOUTS, Layout, State, Weights, split_prefix


def _is_timm(backbone: str) -> bool:
    return backbone in BACKBONES and BACKBONES[backbone].family.startswith("timm ")


@functools.cache
def _trunk_keys(backbone: str) -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(timm.create_model(backbone, num_classes=0).state_dict())


def _recognise(state: Mapping[str, Tensor], backbone: str) -> bool:
    return _is_timm(backbone) and not _trunk_keys(backbone).isdisjoint(state)


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    classifier = timm.get_pretrained_cfg(backbone).classifier  # "fc", "head.fc" or "last_linear"
    head, trunk = split_prefix(state, f"{classifier}.")
    if not head and classifier != "fc":
        head, trunk = split_prefix(state, "fc.")
    net = {f"net.{key}": value for key, value in trunk.items()}
    if not head:
        return Weights(origin, net)
    return Weights(origin, net, *linear_head(head, origin))


def linear_head(head: Mapping[str, Tensor], origin: str) -> tuple[State, str, int]:
    """Convert a foreign linear classifier to the state of the classification head, its task and its number of classes.

    Raises:
        WeightsError: the classifier isn't a single linear layer.
    """
    if set(head) != {"weight", "bias"}:
        raise WeightsError(f"weights {origin}: the classifier has the keys {', '.join(head)}; expected one linear layer (weight, bias)")
    # ResNetV2's classifier is a 1×1 convolution: the same values with two more axes
    weight = head["weight"].flatten(1)
    return {"fc.weight": weight, "fc.bias": head["bias"]}, "classification", len(weight)


LAYOUTS.add("timm", Layout("timm/torchvision ResNet", _recognise, _convert))
