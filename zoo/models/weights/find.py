"""Lookup of weights: in a file, in the folder of a saved model, or by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.models.config import model_folder, read_description
from zoo.models.weights import Weights
from zoo.models.weights.files import is_path, load_file_weights
from zoo.task.contract import get_task


def find_weights(weights: str | Path, backbone: str, task: str) -> Weights:
    """Load weights by file, folder or name.

    Raises:
        WeightsError: the weights can't be found, read or converted.
        InputError: the folder holds no saved model.
        UnknownNameError: there are no weights of this name.
    """
    if is_path(weights):
        path = Path(weights).expanduser()
        if path.is_dir():
            return _saved_weights(model_folder(path), backbone, task)
        if path.name == "weights.safetensors" and (path.parent / "model.json").is_file():
            return _saved_weights(path.parent, backbone, task)
        return load_file_weights(path, backbone)
    from zoo.models.weights.named import load_named_weights  # slow: imports torchvision's and timm's tables

    return load_named_weights(str(weights), backbone, task)


def _saved_weights(folder: Path, backbone: str, task: str) -> Weights:
    """Load the weights of a saved model, with its classes, epsilon and preprocessing."""
    config, metadata, compiled = read_description(folder)
    if compiled is not None:
        raise WeightsError(
            f"{folder}: an exported model holds the graphs of one engine and no weights; pass the model that it was exported from"
        )
    known: Mapping[str, Any] = {}
    weights = load_file_weights(folder / "weights.safetensors", backbone)
    preprocess = config.preprocess
    if config.task != task:  # sizes of another task don't apply; the backbone still needs its normalisation
        preprocess = replace(BACKBONES[backbone].preprocess(), mean=preprocess.mean, std=preprocess.std)
    else:
        known = get_task(task).building.metadata(get_task(task).parse_options(config.options))
    return replace(
        weights,
        num_classes=len(config.classes),
        classes=config.classes,
        preprocess=preprocess,
        norm_eps=config.norm_eps,
        options=config.options,
        metadata={name: metadata[name] for name in known if name in metadata},
    )
