"""Robustness of real weights on real images: the CIFAR ResNet-20 under corruptions."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo.evaluation.robustness.sweep import evaluate_corruptions
from zoo.task.contract import get_task

pytestmark = pytest.mark.slow

WEIGHTS = "resnet20-12fca82f.th"


def test_corruptions_cost_a_cifar_model_what_they_should(shared_data: Path) -> None:
    model = zoo.build("resnet20", weights=shared_data / "weights" / WEIGHTS)
    task = get_task("classification")
    pictures = task.open(f"folder:{shared_data / 'cifar10' / 'test'}")[::10]
    found = evaluate_corruptions(model, pictures, names=["brightness", "gaussian_noise"], severities=[1, 5], replicates=100)
    assert found["n"] == 500
    assert found["clean"] == pytest.approx(0.81, abs=0.04)  # 0.8102 over all 5,000
    runs = found["corruptions"]
    assert runs["brightness"]["1"] > found["clean"] - 0.03  # the slightest change of brightness costs almost nothing
    assert runs["gaussian_noise"]["5"] < 0.5 < runs["gaussian_noise"]["1"]  # on CIFAR-10-C such models lose the most to noise
    assert 0.05 < found["relative_drop"] < 0.6
    low, high = found["intervals"]["relative_drop"]
    assert low < found["relative_drop"] < high
