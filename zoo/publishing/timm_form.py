"""Classifiers in the form in which timm reads them from a repository: config.json, and model.safetensors with timm's key names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from zoo.artefacts.hub.snapshot import TIMM_CONFIG, TIMM_WEIGHTS
from zoo.backbones import BACKBONES
from zoo.backbones.timm import HEAD_OF_OTHER_DESIGN
from zoo.models.inference import evaluation_mode
from zoo.models.model import Model
from zoo.system.disk import save_tensors
from zoo.system.files import write_text

_TOLERANCE = 1e-6  # of logits, relative to the largest one if that is above 1
_CROP_MODES = {"crop": "center", "squash": "squash"}  # timm's names of the size policies
_KEPT = ("first_conv", "classifier", "fixed_input_size", "min_input_size")  # properties of the network in timm's description
_LINEAR = {"fc.weight", "fc.bias"}


def write_timm_form(model: Model, folder: Path, licence: str) -> str:
    """Write the files from which `timm.create_model("hf-hub:…")` builds the same network, whose logits are compared with the model's.

    Args:
        model: a model.
        folder: folder for the files.
        licence: licence for timm's description.

    Returns:
        Why timm has no such network, in words, and then nothing is written; "" if it has.
    """
    if reason := _unlike(model):
        return reason
    network = _network(model)
    if not _agrees(model, network):
        return "timm's network has other logits"
    write_text(folder / TIMM_CONFIG, json.dumps(_description(model, network, licence), indent=2) + "\n")
    save_tensors({key: value.contiguous() for key, value in network.state_dict().items()}, folder / TIMM_WEIGHTS)
    return ""


def _description(model: Model, network: Any, licence: str) -> dict[str, Any]:
    """Return the content of config.json, with which timm also prepares images as the model does."""
    way, known = model.preprocess, network.pretrained_cfg
    pretrained = {name: known[name] for name in _KEPT if known.get(name) is not None}
    pretrained |= {
        "input_size": [3, *way.size_hw],
        "interpolation": way.interpolation,
        "crop_pct": way.crop_pct,
        "crop_mode": _CROP_MODES[way.policy],
        "mean": list(way.mean),
        "std": list(way.std),
        "num_classes": len(model.classes),
        "license": licence,
    }
    return {
        "architecture": model.backbone_name,
        "num_classes": len(model.classes),
        "num_features": network.num_features,
        "label_names": list(model.classes),
        "pretrained_cfg": pretrained,
    }


def _unlike(model: Model) -> str:
    """Return why timm has no network like a model's; "" if it may have one."""
    if model.compiled:
        return "it is an exported model"
    if model.is_joint or model.config.task != "classification":
        return "it is not a classifier"
    name = model.backbone_name
    if not BACKBONES[name].family.startswith("timm ") or HEAD_OF_OTHER_DESIGN.search(name) or len(model.adapters):
        return f"timm has no network {name} with this head"
    if set(model.head.state_dict()) != _LINEAR:
        return "its head is not a linear layer"
    return "" if model.preprocess.policy in _CROP_MODES else f"timm has no size policy {model.preprocess.policy!r}"


def _network(model: Model) -> nn.Module:
    """Return timm's network with the weights of a model."""
    name = model.backbone_name
    network: nn.Module = timm.create_model(name, num_classes=len(model.classes))
    own: dict[str, Any] = {key.removeprefix("net."): value for key, value in model.backbone.state_dict().items()}
    classifier, shapes = timm.get_pretrained_cfg(name).classifier, network.state_dict()
    for part, value in model.head.state_dict().items():
        key = f"{classifier}.{part.removeprefix('fc.')}"
        own[key] = value.reshape(shapes[key].shape)  # ResNetV2's classifier is a 1×1 convolution
    network.load_state_dict({key: value.detach().cpu() for key, value in own.items()})
    return network.eval()


def _agrees(model: Model, network: nn.Module) -> bool:
    """Return whether the logits for random images are the same."""
    way = model.preprocess
    images = torch.rand(2, 3, *way.size_hw, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (way.mean, way.std))
    with evaluation_mode(model), torch.inference_mode():
        expected = model(images.to(model.device)).cpu()
        found = network((images - mean) / std)
    return bool((found - expected).abs().max() <= _TOLERANCE * max(1.0, float(expected.abs().max())))
