"""Key layout of akamaster/pytorch_resnet_cifar10's CIFAR ResNets: the backbone's names and `linear.*`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.models.weights import LAYOUTS, Layout, Weights, split_prefix
from zoo.models.weights.timm_resnet import linear_head


def _recognise(state: Mapping[str, Tensor], backbone: str) -> bool:
    return backbone in BACKBONES and BACKBONES[backbone].family == "CIFAR ResNet" and "conv1.weight" in state


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    head, trunk = split_prefix(state, "linear.")
    if not head:
        head, trunk = split_prefix(state, "fc.")
    if not head:
        return Weights(origin, trunk)
    return Weights(origin, trunk, *linear_head(head, origin))


LAYOUTS.add("cifar", Layout("CIFAR ResNet", _recognise, _convert))
