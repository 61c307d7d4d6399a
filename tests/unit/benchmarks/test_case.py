"""The model of a benchmark case starts from the same random parameters every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.benchmarks.harness import case as harness
from zoo.benchmarks.harness.suite import Case


class StoppedError(Exception):
    """Raised instead of training."""


def test_the_seed_of_the_recipe_sets_the_initial_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Tensor] = []

    def train(model: Any, **arguments: Any) -> None:
        built.append(model.head.fc.weight.detach())
        raise StoppedError

    monkeypatch.setattr(harness, "train", train)
    for state, seed in ((1, 0), (2, 0), (3, 7)):
        torch.manual_seed(state)
        with pytest.raises(StoppedError):
            harness.run_case(
                Case("digits", "classification", "resnet20", "demo:digits", train="demo:digits", recipe={"seed": seed}), tmp_path
            )
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])
