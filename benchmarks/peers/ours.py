"""The zoo's ways: a model with a rival's weights, compiled, and called as its users call it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import zoo
from zoo.benchmarks.peers.race import Work
from zoo.engines import AskedPrecision
from zoo.images.decoding import Image
from zoo.images.preprocess import ImageBatch
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.tasks.classification.predictions import Classification

_ENGINE = "openvino"


def with_weights(backbone: str, task: str, network: nn.Module, num_classes: int, image_size: int) -> Model:
    """Build the zoo's model and give it the weights of a rival's network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(network.state_dict(), path)
        return zoo.build(backbone, task, num_classes=num_classes, weights=path, image_size=image_size, say=lambda text: None)


def compiled(model: Model, precision: AskedPrecision, data: object) -> Compiled:
    """Compile it; on a disagreement with eager float32 the error says so."""
    return zoo.compile(model, engine=_ENGINE, precision=precision, data=data)


def classify(model: Model, batch: ImageBatch) -> Work:
    """Return the call for prepared pictures, uint8: scaling to 0–1 and normalisation are part of it."""

    def work() -> Tensor:
        logits: Tensor = model(batch)
        return logits

    return work


def detect(model: Model, photo: Image) -> Work:
    """Return the call for a photo as it was decoded."""

    def work() -> dict[str, Tensor]:
        found: dict[str, Tensor] = model([photo])[0]
        return found

    return work


def classify_folder(model: Model, folder: Path, batch: int) -> Work:
    """Return the way from a folder of pictures to classes."""

    def work() -> list[int]:
        classes = []
        for found in zoo.predict(model, folder, batch_size=batch, device="cpu"):
            assert isinstance(found, Classification)
            classes.append(int(found.probabilities.argmax()))
        return classes

    return work
