"""Key layouts of classifiers: the zoo's layout, that of the CIFAR ResNets, and timm's, which torchvision also uses for plain ResNets."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from zoo.backbones.timm import HEAD_OF_OTHER_DESIGN
from zoo.errors import WeightsError
from zoo.models.weights.layouts import LAYOUTS, Layout, Weights, split_prefix, without_net


def _from_native(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    trunk, rest = split_prefix(state, "backbone.")
    tasks = sorted({key.split(".")[1] for key in rest})
    head, _ = split_prefix(rest, f"heads.{tasks[0]}.") if tasks else ({}, {})
    return Weights(origin, trunk, head, tasks[0] if tasks else "")


def _from_timm(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    if HEAD_OF_OTHER_DESIGN.search(backbone):
        head, trunk = split_prefix(state, "head.")
        note = f"skipped the {len(head)} entries of its head (attention pooling or two layers), which the zoo doesn't have" if head else ""
        return Weights(origin, {f"net.{key}": value for key, value in trunk.items()}, note=note)
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
    layers = {key.rpartition(".")[0] for key in head}  # a linear layer may follow dropout: "fc.1.weight"
    if len(layers) > 1 or {key.rpartition(".")[2] for key in head} - {"bias"} != {"weight"}:
        raise WeightsError(
            f"weights {origin}: the classifier has the keys {', '.join(head)}; expected one linear layer (weight, bias). "
            f"Remove these keys to load the backbone alone"
        )
    head = {key.rpartition(".")[2]: value for key, value in head.items()}
    weight = head["weight"].flatten(1)  # ResNetV2's classifier is a 1×1 convolution, whose weights have two additional axes
    bias = head.get("bias", torch.zeros(len(weight)))
    return Weights(origin, trunk, {"fc.weight": weight, "fc.bias": bias}, "classification", len(weight))


LAYOUTS.add("native", Layout("the zoo's own (backbone.*, heads.*)", "", "backbone.{}".format, _from_native))
LAYOUTS.add("cifar", Layout("CIFAR ResNet", "CIFAR ResNet", str, _from_cifar, classifier=True))
LAYOUTS.add("timm", Layout("timm/torchvision ResNet", "timm ", without_net, _from_timm, classifier=True))
