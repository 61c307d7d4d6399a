"""Descriptions of backbones, tasks and saved models, which `zoo info` prints."""

from __future__ import annotations

import functools
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo.artefacts.hub.reference import is_reference
from zoo.backbones import BACKBONES
from zoo.errors import InputError, UnknownNameError
from zoo.models.archive import load
from zoo.models.compiled import Compiled
from zoo.models.config import model_folder
from zoo.models.passes import described
from zoo.models.weights.names import described_weights, known_weights
from zoo.task.contract import TASKS, get_task


def info(name: str | Path) -> dict[str, Any]:
    """Describe a backbone, a task, weights or a saved model.

    Args:
        name: name of a backbone, name of a task, name of weights (BACKBONE.NAME, or NAME if it is that of one backbone only), folder of
            a saved model or of a finished run, or a repository of the Hub (hf:OWNER/NAME).

    Returns:
        The description, as JSON-serialisable values.

    Raises:
        InputError: `name` isn't the name of a backbone, task or weights, nor the folder of a saved model or finished run.
    """
    text = str(name)
    if text in TASKS:
        return _task(text)
    if text in BACKBONES:
        return _backbone(text)
    if is_reference(text) or Path(text).exists():
        return _saved(text)
    if (weights := described_weights(text)) is not None:
        return weights
    raise UnknownNameError("backbone, task or saved model", text, [*BACKBONES, *TASKS], 'See the backbones with: zoo list "*"')


def _backbone(name: str) -> dict[str, Any]:
    definition = BACKBONES[name]
    preprocess = definition.preprocess()
    parameters, flops = _measure(name)
    return {
        "backbone": name,
        "family": definition.family,
        "levels": [{"name": level.name, "channels": level.channels, "stride": level.stride} for level in definition.levels],
        "input_size": list(preprocess.size_hw),
        "parameters": parameters,
        "flops": flops,
        "tasks": [task for task in TASKS if len(definition.levels) >= TASKS[task].building.min_levels],
        "weights": {task: list(known_weights(name, task)) for task in TASKS},
        "preprocess": preprocess.to_dict(),
        "options": {task: dict(options) for task, options in definition.options.items()},
    }


@functools.cache
def _measure(name: str) -> tuple[int, int]:
    """Return the number of parameters, and of floating-point operations for one image of the default input size.

    A multiplication and the subsequent addition count as two operations.
    """
    definition = BACKBONES[name]
    with torch.device("meta"):
        backbone = definition.create().eval()
        images = torch.empty(1, 3, *definition.preprocess().size_hw)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(images)
    return sum(parameter.numel() for parameter in backbone.parameters()), int(counter.get_total_flops())


def _task(name: str) -> dict[str, Any]:
    task = get_task(name)
    recipe = task.data.recipe()
    return {
        "task": name,
        "options": {option.name: getattr(task.parse_options({}), option.name) for option in fields(task.building.options)},
        "recipe": {setting.name: getattr(recipe, setting.name) for setting in fields(recipe)},
        "data": list(task.data.schemes),
        "primary_score": task.scoring.primary_score,
        "min_levels": task.building.min_levels,
    }


def _saved(place: str) -> dict[str, Any]:
    if not is_reference(place):
        try:
            place = str(model_folder(place))
        except InputError as error:
            raise InputError(f"{error} It is not the name of a backbone or task either") from error
    model = load(place, licence_policy="any")  # the description shows the licences
    return {
        "model": place,
        **model.config.to_dict(),
        "passes": described(model.config.passes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **({"compiled": model.making.to_dict()} if isinstance(model, Compiled) else {}),
        "metadata": model.metadata,
    }
