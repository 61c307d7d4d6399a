"""The zoo's side of the comparison: models with the weights of other libraries' networks, used through the public API."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import zoo
from zoo.benchmarks.peers.race import Work
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.system.precision import AskedPrecision
from zoo.tasks.classification.predictions import Classification


def with_weights(backbone: str, task: str, network: nn.Module, **options: Any) -> Model:
    """Build the zoo's model with the weights of another library's network; `options` are those of `zoo.build`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(network.state_dict(), path)
        return zoo.build(backbone, task, weights=path, say=lambda text: None, **options)


def compiled(model: Model, precision: AskedPrecision, data: object) -> Compiled:
    """Compile a model with OpenVINO. An error is raised if its predictions disagree with those of the uncompiled float32 model."""
    return zoo.compile(model, engine="openvino", precision=precision, data=data)


def classify_folder(model: Model, folder: Path, batch: int) -> Work:
    """Return a function that decodes the images in a folder and predicts their classes."""

    def work() -> list[int]:
        classes = []
        for found in zoo.predict(model, folder, batch_size=batch, device="cpu"):
            assert isinstance(found, Classification)
            classes.append(int(found.probabilities.argmax()))
        return classes

    return work
