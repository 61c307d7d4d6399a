"""Fixtures for tests of the choice of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import zoo.compilation.tuning
from tests.unit.training.features.timed_engines import First, Second, timed
from zoo.engines import ENGINES
from zoo.images.preprocess import ImageBatch


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the real engines by fake ones, and return the names of the engines in the order in which `compile` measures them."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert "eager" in ENGINES
    for name in ("inductor", "onnxruntime", "openvino"):
        monkeypatch.delitem(ENGINES._definitions, name)
    monkeypatch.setattr(zoo.compilation.tuning, "_ORDER", ("first", "second"))
    for engine in (First, Second):
        monkeypatch.setitem(ENGINES._definitions, engine.name, engine)
        engine.started.clear()
        engine.converted.clear()
    timed(monkeypatch, 1.0)
    order: list[str] = []

    def milliseconds(model: Any, batch: ImageBatch) -> float:
        order.append(model.making.engine)
        return float(getattr(ENGINES[model.making.engine], "ms", 100.0))

    monkeypatch.setattr(zoo.compilation.tuning, "_milliseconds", milliseconds)
    return order
