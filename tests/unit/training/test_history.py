"""Best epoch of a run, number of epochs since then, and optimiser steps of batches."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.data.sampling import Steps
from zoo.training.history import best_epoch, epochs_without_better, score_of


def history(*values: float | None) -> list[dict[str, Any]]:
    return [{"epoch": number, "val": {"top1": value}} for number, value in enumerate(values, start=1)]


@pytest.mark.parametrize(("values", "best", "waited"), [
    ((0.5, 0.9, 0.8, 0.9), 4, 2),  # an equal score is kept, but doesn't count as an improvement
    ((0.9, 0.5, None), 1, 2),
    ((None, 0.1), 2, 0),
    ((None, None), None, 1),
])  # fmt: skip
def test_the_best_epoch_and_how_long_none_was_better(values: tuple[float | None, ...], best: int | None, waited: int) -> None:
    entries = history(*values)
    found = best_epoch(entries, "top1")
    assert (None if found is None else found["epoch"]) == best
    assert epochs_without_better(entries, "top1") == waited


def test_a_run_that_was_not_scored_or_has_not_begun() -> None:
    assert score_of({"epoch": 1}, "top1") is None
    assert best_epoch([{"epoch": 1}], "top1") is None
    assert epochs_without_better([], "top1") == 0


def test_an_epoch_ends_with_a_step_however_few_batches_it_has() -> None:
    steps = Steps(batches_per_epoch=5, accumulation=2)
    assert steps.per_epoch == 3
    assert [steps.complete(batches) for batches in range(1, 8)] == [False, True, False, True, True, False, True]
    assert [steps.done(batches) for batches in range(8)] == [0, 1, 1, 2, 2, 3, 4, 4]
