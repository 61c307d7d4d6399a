"""Fake engines whose speed and errors are set by the test, and a clock that advances with the computation of features."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import zoo.training.features.engine
from tests.engines import Fake
from zoo.engines import Network, Runner, Tensors
from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.training.features.engine import eager_features

SIZE = 2  # images per batch


class Altered(nn.Module):
    """The network of pooled features with a defect; its output is overwritten by its next call, as that of real engines."""

    def __init__(self, module: nn.Module, offset: float, fault: Exception | None) -> None:
        super().__init__()
        self.module, self.offset, self.fault = module, offset, fault
        self.output: Tensor | None = None

    def forward(self, pixels: Tensor) -> Tensors:
        if self.fault is not None:
            raise self.fault
        (pooled,) = self.module(pixels)
        if self.output is None or self.output.shape != pooled.shape:
            self.output = torch.empty_like(pooled)
        return (self.output.copy_(pooled + self.offset),)


class Timed(Fake):
    """Fake engine of any speed, with defects in the network of pooled features alone.

    Attributes:
        ms: time of a batch in milliseconds, where eager takes 100.
        shift: number added to the features.
        fault: error that computing features raises.
        started: precisions in which it was started.
    """

    ms: ClassVar[float] = 25.0
    shift: ClassVar[float] = 0.0
    fault: ClassVar[Exception | None] = None
    started: ClassVar[list[str]] = []

    def convert(self, network: Network) -> Any:
        converted = super().convert(network)
        return Altered(converted, self.shift, self.fault) if network.name == "features" else converted

    def start(self, converted: Any, precision: Any, threads: int) -> Runner:
        self.started.append(precision)
        return super().start(converted, precision, threads)


class First(Timed):
    """The engine that is measured first."""

    name = "first"
    started: ClassVar[list[str]] = []
    converted: ClassVar[list[str]] = []


class Second(Timed):
    """The engine that is measured after the first."""

    name = "second"
    started: ClassVar[list[str]] = []
    converted: ClassVar[list[str]] = []


class Seconds:
    """Clock that advances by the next of the given durations whenever features are computed in eager; the last one repeats."""

    def __init__(self, durations: Sequence[float]) -> None:
        self.durations, self.now, self.calls = list(durations), 0.0, 0

    def __call__(self, model: Model, images: ImageBatch, precision: Any) -> Any:
        self.now += self.durations[min(self.calls, len(self.durations) - 1)]
        self.calls += 1
        return eager_features(model, images, precision)


def timed(monkeypatch: pytest.MonkeyPatch, *durations: float) -> Seconds:
    """Let eager take these durations, in seconds per batch, where the engine is chosen."""
    seconds = Seconds(durations)
    monkeypatch.setattr(zoo.training.features.engine, "eager_features", seconds)
    monkeypatch.setattr(zoo.training.features.engine, "time", SimpleNamespace(perf_counter=lambda: seconds.now))
    return seconds
