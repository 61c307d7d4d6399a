"""The benchmark of models with several heads: equal work on both sides, ratios of neighbouring calls, and the verdict."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.benchmarks import shared_trunk
from zoo.benchmarks.shared_trunk import Row, Setting, check_work, main, separated, times
from zoo.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = Setting("test_resnet", 128, 170)


def test_the_ratio_is_the_median_of_neighbouring_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"joint": iter([9.0, 2.0, 30.0, 4.0]), "alone": iter([1.0, 1.0, 20.0, 4.0])}
    order: list[Any] = []

    def milliseconds(model: Any, image: Any) -> float:
        order.append(model)
        return next(clock[model])

    monkeypatch.setattr(shared_trunk, "milliseconds", milliseconds)
    joint: Any = "joint"
    row = times("work", "eager", joint, "alone", np.zeros(1), 3, 1.6)  # type: ignore[arg-type]
    assert (row.joint, row.separate, row.ratio, row.met) == (4.0, 4.0, 1.5, True)
    assert order == ["joint", "alone", "alone", "joint"] * 2, "the first round is a warm-up"
    assert not Row("work", "time, ms", "eager", 4.0, 2.0, 1.61, 1.6).met


@pytest.mark.parametrize("work", shared_trunk._TIMED)
def test_both_sides_find_the_same_boxes(work: str) -> None:
    heads, options, _ = shared_trunk._TIMED[work]
    joint = SMALL.build({**heads, "objects": "detection"}, **options)
    alone = SMALL.detector(joint)
    assert check_work(alone, SMALL.image()) == (200, 100)
    with torch.inference_mode():
        answer, found = alone([SMALL.image()])[0], joint([SMALL.image()])
    objects = (found["objects"] if heads else found)[0]
    assert all(torch.equal(objects[name], value) for name, value in answer.items())
    assert [*objects] == [*answer, *options]


def test_a_detector_without_enough_work_is_refused() -> None:
    small = Setting("test_resnet", 64, 85)
    alone = zoo.build("test_resnet", "detection", num_classes=80, image_size=64, proposals=2, score_threshold=1.0)
    with pytest.raises(InputError, match="the detector returns 0 boxes instead of 100, which takes less time"):
        check_work(alone, small.image())


def test_separate_models_have_one_head_each() -> None:
    assert [model.task for model in separated(SMALL.build(shared_trunk._THREE))] == ["classification", "detection", "face"]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_benchmarks")
def test_every_figure_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--backbone", "test_resnet", "--side", "128", "--rounds", "1", "--engine", "none", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert [(row["work"], row["figure"].split(",")[0], row["bound"]) for row in result["rows"]] == [
        ("classification + detection", "time", 1.10),
        ("classification + detection", "peak memory", 1.15),
        ("two classifications + detection", "time", 1.12),
        ("detection with three attributes", "time", 1.03),
        ("classification + detection + face", "resident memory", 0.5),
    ]
    assert all(row["joint"] > 0 and row["separate"] > 0 and row["met"] == (row["ratio"] <= row["bound"]) for row in result["rows"])
    assert result["met"] == all(row["met"] for row in result["rows"])
    assert status == (0 if result["met"] else 1)
