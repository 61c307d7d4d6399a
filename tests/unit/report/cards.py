"""Models for tests of model cards, and the documented rules of the Hugging Face Hub for their metadata."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

import zoo
from zoo.models.model import Model

# a part of https://huggingface.co/docs/hub/repositories-licenses, and of https://huggingface.co/tasks
LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "gpl-3.0", "bsl-1.0", "other")
TASKS = ("image-classification", "object-detection", "image-feature-extraction")


def metadata_of(text: str) -> dict[str, Any]:
    """Return the metadata at the beginning of a card."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert found is not None, "there is no metadata"
    content = yaml.safe_load(found[1])
    assert isinstance(content, dict)
    return content


def faults(text: str) -> list[str]:
    """Return what the Hub would refuse in the metadata of a card."""
    content, found = metadata_of(text), []
    licence = content.get("license")
    if licence is not None and licence not in LICENCES:
        found.append(f'"license" must be one of {LICENCES}')
    if licence == "other" and not re.fullmatch(r"[a-z0-9.-]+", content.get("license_name", "")):
        found.append('"license_name" is missing or invalid')
    if licence == "other" and not re.match(r"https?://|LICENSE", content.get("license_link", "")):
        found.append('"license_link" is missing or invalid')
    if content.get("pipeline_tag") not in (None, *TASKS):
        found.append('"pipeline_tag" is unknown')
    if not all(isinstance(each, str) for each in [content["library_name"], *content["tags"]]):
        found.append('"tags" must be strings')
    for key in ("datasets", "base_model"):
        for each in content.get(key, ()):
            try:
                validate_repo_id(each)
            except HFValidationError as error:
                found.append(f'"{key}": {error}')
    for model in content.get("model-index", ()):
        found += _index_faults(model)
    return found


def _index_faults(model: dict[str, Any]) -> list[str]:
    found = [] if isinstance(model.get("name"), str) else ['"model-index.name" is required']
    for result in model["results"]:
        needed = [("task", "type"), ("dataset", "type"), ("dataset", "name")]
        found += [f'"{part}.{key}" is required' for part, key in needed if not isinstance(result[part].get(key), str)]
        for metric in result["metrics"]:
            if not isinstance(metric.get("type"), str) or not isinstance(metric.get("value"), int | float):
                found.append(f'the metric {metric} needs "type" and "value"')
    return found


DETECTOR: dict[str, Any] = {"classes": ["red cell", "white cell"], "image_size": 64, "fpn_channels": 16, "proposals": 20}
TRAINING = {
    "data": "folder:/home/ann/photos?split=train", "samples": 120, "manifest": "0123456789abcdef", "val_data": "folder:/home/ann/photos",
    "val_samples": 30, "val_manifest": "fedcba9876543210", "val": {"top1": 0.75, "auc": None}, "epoch": 4,
}  # fmt: skip


def made(kind: str) -> Model:
    """Return a tiny model."""
    torch.manual_seed(0)
    if kind == "joint":
        classes = {"kind": ["cat", "dog"], "parts": ["ear"]}
        return zoo.build("test_resnet", {"kind": "classification", "parts": "detection", "who": "face"}, classes=classes, image_size=64)
    task, options = {
        "classification": ("classification", {"classes": ["cat", "dog", "eel"], "image_size": 32}),
        "multi-label": ("classification", {"classes": ["cat", "dog", "eel"], "image_size": 32, "multi_label": True}),
        "detection": ("detection", DETECTOR),
        "attributes": ("detection", {**DETECTOR, "attributes": {"colour": ["dark", "light"]}}),
        "face": ("face", {"image_size": 32, "embedding_size": 8, "alignment": "arcface"}),
    }[kind]
    return zoo.build("test_resnet", task, **options)


def trained(folder: Path) -> Path:
    """Save a classifier with the training summary of a run."""
    model = made("classification")
    model.metadata["training"] = TRAINING
    return zoo.save(model, folder)
