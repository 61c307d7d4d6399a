"""Thresholds in a model's metadata, and tasks that have none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zoo.errors import InputError
from zoo.task.contract import get_task
from zoo.task.metric import Metric
from zoo.task.operating import Decisions, as_thresholds, marks_at, rates_at, stored_thresholds
from zoo.task.scoring import Scoring


class Plain(Scoring):
    """Scores without thresholds."""

    primary_score = "top1"

    def metric(self, dataset: Any, classes: tuple[str, ...], **options: Any) -> Metric:
        return get_task("classification").scoring.metric(dataset, classes, **options)


def test_a_task_without_thresholds_says_so() -> None:
    task = replace(get_task("classification"), name="plain", scoring=Plain())
    with pytest.raises(InputError, match="the task plain has no operating point: no threshold affects its predictions"):
        task.decisions(None, ("a", "b"), {}, None)
    assert task.answers.without_operating_point({}, {}) == ""
    assert Plain().operating_metadata({"a": 0.5}, ("a",)) == {"thresholds": {"a": 0.5}}


def test_rates_and_marks_of_classes_at_their_thresholds() -> None:
    found = {
        "a": Decisions(np.array([0.9, 0.4, -np.inf]), np.array([True, False, True]), np.arange(3), 3, 0.5),
        "b": Decisions(np.array([0.3]), np.array([True]), np.arange(1), 3, 0.5),
        "nothing": Decisions(np.array([0.3]), np.array([False]), np.arange(1), 3, 0.5),
    }
    rates = rates_at(found, {"a": 0.4, "b": 0.5, "nothing": 0.5, "other": 0.5})
    assert [*rates] == ["a", "b"]
    assert (rates["a"].precision, rates["a"].recall, rates["a"].f1) == (1, 0.5, 2 / 3)
    assert (rates["b"].precision, rates["b"].recall, rates["b"].f1) == (None, 0, 0)
    assert marks_at(rates, {"a": 0.4, "b": 0.5}) == {"a": (0.5, 1.0, "threshold 0.4, precision 1, recall 0.5")}
    empty = Decisions(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64), 0, None).at(0.5)
    assert (empty.precision, empty.recall, empty.f1) == (None, None, None)


def test_stored_thresholds_are_checked() -> None:
    assert as_thresholds(None, ("a",)) is None
    found = as_thresholds({"b": 1, "a": 0.25}, ("a", "b"))
    assert found is not None
    assert found.tolist() == [0.25, 1]
    with pytest.raises(InputError, match=r"thresholds in the model's metadata: 'a' is '0\.5'; expected a probability from 0 to 1"):
        as_thresholds({"a": "0.5"}, ("a",))
    one, other = {"thresholds": {"a": 0.1}}, {"thresholds": {"a": 0.2}}
    assert stored_thresholds([one, one]) == {"a": 0.1}
    assert stored_thresholds([one, other]) is None
    assert stored_thresholds([]) is None
