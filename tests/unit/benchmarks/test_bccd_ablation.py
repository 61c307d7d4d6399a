"""The ablation on blood cells: equal training time for every row, and correct output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.benchmarks import bccd_ablation
from zoo.benchmarks.bccd_ablation import ROWS, Outcome, main, repeated, seconds_per_picture
from zoo.data.dataset import Dataset, Record
from zoo.task.metric import Scores

OTHER = list(ROWS)[1]
OUTCOME = Outcome("plain", 480, 299.6, 310.2, {"val": 0.7, "test": 0.6}, {"val": (0.65, 0.75), "test": (0.5, 0.7)})


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def data() -> Dataset:
    return Dataset("d", tuple(Record(f"{number}", np.zeros((4, 4, 3), np.uint8), None) for number in range(3)))


def test_there_are_five_rows_and_the_first_one_is_plain() -> None:
    assert len(ROWS) == 5
    plain, *others = ROWS.values()
    recipe = plain.recipe
    assert (recipe.flip, recipe.light, recipe.scale_min, recipe.jitter_max, recipe.ema, recipe.copy_paste) == (0.5, 0.2, 1.0, 1.0, 0.0, 0.0)
    assert (recipe.batch_size, plain.options) == (4, {"anchor_scale": 8})
    assert len({repr(row) for row in (plain, *others)}) == 5
    assert all((row.recipe.epochs, row.recipe.workers) == (1, 0) for row in ROWS.values())


def test_pictures_are_repeated_under_different_keys() -> None:
    longer = repeated(data(), 7)
    assert longer.keys == ("0#0", "1#0", "2#0", "0#1", "1#1", "2#1", "0#2")
    assert len(repeated(data(), 2)) == 2


def test_rows_are_timed_in_turns_and_the_quickest_turn_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {id(row): name for name, row in ROWS.items()}
    paces = {"plain": iter([0.5, 0.3, 0.6]), OTHER: iter([0.2, 0.4, 0.3])}
    turns: list[str] = []

    def train(dataset: Dataset, row: Any, image_size: int, folder: Path) -> tuple[None, float, float]:
        name = names[id(row)]
        if len(dataset) == 4:
            turns.append(name)
            train.pace = next(paces[name])  # type: ignore[attr-defined]
        return None, 7.0 + len(dataset) * train.pace, 0.0  # type: ignore[attr-defined]

    monkeypatch.setattr(bccd_ablation, "train", train)
    pace = seconds_per_picture(data(), ["plain", OTHER], 64, tmp_path)
    assert turns == ["plain", OTHER] * 3
    assert pace == {"plain": pytest.approx(0.3), OTHER: pytest.approx(0.2)}


def test_every_row_gets_as_many_pictures_as_fit_into_its_time(
    monkeypatch: pytest.MonkeyPatch, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[int] = []

    def train(dataset: Dataset, row: Any, image_size: int, folder: Path) -> tuple[str, float, float]:
        assert image_size == 96
        trained.append(len(dataset))
        return "model", 60.0, 61.0

    def evaluate(model: Any, data: str, on_error: str) -> Any:
        assert (model, on_error) == ("model", "skip")
        return Scores({"AP50": 0.25 if data.endswith("val") else None}, n=1, expected=1, intervals={"AP50": (0.1, 0.4)})

    monkeypatch.setattr(bccd_ablation, "seconds_per_picture", lambda *_: {"plain": 0.2, OTHER: 0.5})
    monkeypatch.setattr(bccd_ablation, "train", train)
    monkeypatch.setattr(zoo, "evaluate", evaluate)
    arguments = ["--data", str(shared_data), "--minutes", "1", "--image-size", "96", "--rows", "plain", OTHER, "--json"]
    assert main(arguments) == 0
    assert trained == [300, 120]
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["rows"]] == ["plain", OTHER]
    assert report["rows"][0]["ap50"] == {"val": 0.25, "test": 0.0}


def test_the_table_shows_scores_with_their_intervals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bccd_ablation, "run", lambda *_: [OUTCOME])
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["--minutes", "5"]) == 0
    shown = capsys.readouterr().out
    assert "AP50 on BCCD after 5 minutes of one core" in shown
    assert "0.700 [0.650, 0.750]" in shown
    assert re.search(r"│ 480 +│ 300 +│ 310 ", shown)


def test_absent_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert "bccd_ablation: " in capsys.readouterr().err
