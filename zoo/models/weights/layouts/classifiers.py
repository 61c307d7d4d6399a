"""Key layouts of classifiers: the zoo's layout, that of the CIFAR ResNets, and timm's, which torchvision also uses for plain ResNets."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.models.weights.layouts import LAYOUTS, Layout, Weights, recognises, split_prefix


def _is_native(state: Mapping[str, Tensor], backbone: str) -> bool:
    return all(key.startswith(("backbone.", "heads.")) for key in state)


def _from_native(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    trunk, rest = split_prefix(state, "backbone.")
    tasks = sorted({key.split(".")[1] for key in rest})
    head, _ = split_prefix(rest, f"heads.{tasks[0]}.") if tasks else ({}, {})
    return Weights(origin, trunk, head, tasks[0] if tasks else "")


@functools.cache
def _timm_keys(backbone: str) -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(timm.create_model(backbone, num_classes=0).state_dict())


def _is_timm(state: Mapping[str, Tensor], backbone: str) -> bool:
    return BACKBONES[backbone].family.startswith("timm ") and not _timm_keys(backbone).isdisjoint(state)


def _from_timm(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    classifier = timm.get_pretrained_cfg(backbone).classifier  # "fc", "head.fc" or "last_linear"
    return _with_linear_head(state, classifier, "net.", origin)


def _from_cifar(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    return _with_linear_head(state, "linear", "", origin)  # akamaster/pytorch_resnet_cifar10


def _with_linear_head(state: Mapping[str, Tensor], classifier: str, prefix: str, origin: str) -> Weights:
    """Convert a state dict with or without a linear classifier (`classifier` or "fc"). The prefix is prepended to the backbone's keys."""
    head, trunk = split_prefix(state, f"{classifier}.")
    if not head:
        head, trunk = split_prefix(state, "fc.")
    trunk = {f"{prefix}{key}": value for key, value in trunk.items()}
    if not head:
        return Weights(origin, trunk)
    if set(head) != {"weight", "bias"}:
        raise WeightsError(f"weights {origin}: the classifier has the keys {', '.join(head)}; expected one linear layer (weight, bias)")
    weight = head["weight"].flatten(1)  # ResNetV2's classifier is a 1×1 convolution, whose weights have two additional axes
    return Weights(origin, trunk, {"fc.weight": weight, "fc.bias": head["bias"]}, "classification", len(weight))


LAYOUTS.add("native", Layout("the zoo's own (backbone.*, heads.*)", _is_native, _from_native))
LAYOUTS.add("cifar", Layout("CIFAR ResNet", recognises("CIFAR ResNet", "conv1.weight"), _from_cifar))
LAYOUTS.add("timm", Layout("timm/torchvision ResNet", _is_timm, _from_timm))
