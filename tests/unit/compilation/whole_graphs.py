"""Detectors and their exports with one graph, for tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.compilation.compile import FORMATS
from zoo.compilation.conversion import Conversion
from zoo.compilation.whole import Joined, given
from zoo.engines import ENGINES
from zoo.models.compiled import Agreement, Making
from zoo.models.fingerprint import fingerprints
from zoo.models.model import Model
from zoo.models.whole import WholeModel
from zoo.system.precision import EnginePrecision

FORMAT = {engine: name for name, engine in FORMATS.items()}
Exports = Callable[[str, bool], tuple[Model, Path]]


def images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth images, uint8 [B, 3, H, W]."""
    noise = torch.rand(count, 3, height + 4, width + 4, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.avg_pool2d(noise, 5, 1) * 2 - 0.5).clamp(0, 1).mul(255).to(torch.uint8)


def confident(**options: Any) -> Model:
    """Return a detector whose scores and boxes differ from each other as a trained one's do."""
    torch.manual_seed(0)
    model = zoo.build(
        "resnet8", "detection", classes=["a", "b", "c"], image_size=64, max_image_size=96, fpn_channels=16, proposals=60, **options
    )
    with torch.no_grad():
        for name, parameter in model.head.named_parameters():
            if "cls" in name or "attribute" in name:
                parameter.normal_(0, 0.3)
            if "bbox" in name:
                parameter.normal_(0, 0.05)
    return model.eval()


def whole(model: Model, engine: str, resize: bool = False, precision: EnginePrecision = "fp32") -> WholeModel:
    """Return a model with one graph per pass, without the comparison with eager that `zoo.export` makes."""
    known = fingerprints(model)
    conversion = Conversion(model, known["model"], ENGINES[engine](), precision, 1)
    config = given(model.config) if resize else model.config
    made = Joined(conversion, "uint8" if resize else "float32", resize)
    return WholeModel(config, model.metadata, known, made, Making(engine, precision, 1, Agreement(0, 0.0, None)), made.input_type)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """A function that exports a detector for an engine, once, and returns it with the folder."""
    model = confident(attributes={"hue": ["red", "blue"]})

    @cache
    def export(engine: str, resize: bool) -> tuple[Model, Path]:
        folder = tmp_path_factory.mktemp("export") / "out"
        zoo.export(model, folder, FORMAT[engine], precision="fp32", resize=resize)
        return model, folder

    return export
