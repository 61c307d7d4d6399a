"""Tests of variants: models with certain options use other components of their task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.errors import InputError
from zoo.task.contract import TASKS, Task, get_task
from zoo.task.metric import Metric, MetricResult
from zoo.task.scoring import Scoring

DATA = "demo:digits?split=test&limit=6"
DIGITS = [str(digit) for digit in range(10)]


class Counting:
    """A metric that only counts."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def update(self, answers: Any, targets: Any, keys: Any) -> None:
        self.keys |= set(keys)

    def state(self) -> Any:
        return self.keys

    def merge(self, states: Any) -> None:
        self.keys = set().union(*states)

    def compute(self, replicates: int = 0) -> MetricResult:
        return MetricResult({"count": float(len(self.keys))})


class CountScoring(Scoring):
    primary_score = "count"

    def metric(self, dataset: zoo.Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        return Counting()


PLAIN = get_task("classification")
COUNTED = replace(PLAIN, scoring=CountScoring())


class TwoVariants(Task):
    """Classification that scores models with dropout in another way."""

    def variant(self, options: Mapping[str, Any]) -> Task:
        return COUNTED if options.get("dropout") else self


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    task = TwoVariants(PLAIN.name, PLAIN.building, PLAIN.data, PLAIN.answers, PLAIN.scoring)
    PLAIN.parse_options({})  # discovers all tasks
    monkeypatch.setitem(TASKS._definitions, "classification", task)
    return task


def test_the_options_choose_the_variant(task: Task, tmp_path: Path) -> None:
    assert get_task("classification") is task
    assert get_task("classification", {"dropout": 0.1}) is COUNTED
    plain, other = (zoo.build("resnet20", classes=DIGITS, dropout=dropout) for dropout in (0.0, 0.1))
    assert plain.definition is task
    assert other.definition is COUNTED
    assert zoo.load(zoo.save(other, tmp_path / "m")).definition is COUNTED
    assert next(iter(zoo.evaluate(plain, DATA, replicates=0))) == "top1"
    assert dict(zoo.evaluate(other, DATA)) == {"count": 6.0}


def test_a_run_is_scored_by_the_variant(tmp_path: Path) -> None:
    recipe = zoo.recipe("classification", epochs=1, batch_size=8, workers=0)
    model = zoo.build("resnet20", classes=DIGITS, dropout=0.1)
    run = zoo.train(model, "demo:digits?limit=40", DATA, recipe, tmp_path / "run")
    assert run.scores is not None
    assert dict(run.scores) == {"count": 6.0}


def test_variants_are_not_mixed(tmp_path: Path) -> None:
    plain, other = (zoo.build("resnet20", classes=DIGITS, dropout=dropout) for dropout in (0.0, 0.1))
    with pytest.raises(InputError, match="ensemble: models of different variants of the task classification can't be combined"):
        zoo.evaluate([plain, other], DATA)
    folder, said = zoo.save(plain, tmp_path / "m"), list[str]()
    moved = zoo.build("resnet20", dropout=0.1, weights=folder, say=said.append)
    assert said == [f"weights {folder}/weights.safetensors: loaded into the backbone; the classification head is newly initialised"]
    for part, same in (("backbone", True), ("head", False)):
        own, theirs = (getattr(model, part).state_dict() for model in (moved, plain))
        assert all(torch.equal(value, theirs[name]) for name, value in own.items() if value.ndim > 1) is same
