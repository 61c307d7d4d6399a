"""The sweep over corruptions: averages, drops, intervals and the form of its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.pictures import picture, write_class_folders
from zoo.data.dataset import Dataset, Record
from zoo.errors import InputError, UnknownNameError
from zoo.evaluation.robustness import sweep
from zoo.evaluation.robustness.corruptions import corrupted
from zoo.evaluation.robustness.kinds import CORRUPTIONS
from zoo.system.progress import Progress
from zoo.task.contract import get_task
from zoo.task.metric import Scores

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model() -> zoo.Model:
    return zoo.build("resnet20", classes=["blue", "green", "red"])


def fake_evaluate(values: dict[str, float | None]) -> Any:
    """Return a fake `evaluate` that chooses a score by the name of the dataset, with two replicates around it."""

    def evaluate(model: zoo.Model, dataset: Dataset, **options: Any) -> Scores:
        name = next((key for key in values if key in dataset.name), "clean")
        value = values[name]
        draws = {} if value is None else {"top1": np.array([value - 0.1, value + 0.1])}
        return Scores({"top1": value}, 4, 4, data=dataset.name, replicates=draws)

    return evaluate


DATA = Dataset("pictures", tuple(Record(str(n), picture((9, 9, 9), n), 0) for n in range(4)), ("blue", "green", "red"))


def test_means_and_drop_are_worked_out_by_hand(model: zoo.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"clean": 0.8, "fog of severity 1": 0.7, "fog of severity 5": 0.3, "snow of severity 1": 0.4, "snow of severity 5": 0.2}
    monkeypatch.setattr(sweep, "evaluate", fake_evaluate({**scores}))
    found = sweep.evaluate_corruptions(model, DATA, names=["fog", "snow"], severities=[1, 5])
    assert (found["score"], found["clean"]) == ("top1", 0.8)
    assert found["mean"] == pytest.approx(0.4)
    assert found["relative_drop"] == pytest.approx(0.5)
    assert found["corruptions"] == {"fog": {"1": 0.7, "5": 0.3}, "snow": {"1": 0.4, "5": 0.2}}
    assert found["by_corruption"] == pytest.approx({"fog": 0.5, "snow": 0.3})
    # the replicates of all runs are paired: mean 0.3 with clean 0.7, and 0.5 with 0.9
    assert found["intervals"]["mean"] == pytest.approx([0.305, 0.495])
    drops = np.array([4 / 7, 4 / 9])  # the interval is centred on the drop
    assert found["intervals"]["relative_drop"] == pytest.approx(np.quantile(drops, [0.025, 0.975]) + 0.5 - drops.mean())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"clean": 0.0, "fog": 0.0}, (0.0, 0.0, None)),
        ({"clean": 0.5, "fog": None}, (0.5, None, None)),
        ({"clean": None, "fog": 0.5}, (None, 0.5, None)),
    ],
)
def test_a_score_that_is_not_there_is_no_number(
    model: zoo.Model, monkeypatch: pytest.MonkeyPatch, values: dict[str, float | None], expected: tuple[float | None, ...]
) -> None:
    monkeypatch.setattr(sweep, "evaluate", fake_evaluate(values))
    found = sweep.evaluate_corruptions(model, DATA, names=["fog"], severities=[3])
    assert (found["clean"], found["mean"], found["relative_drop"]) == expected
    assert "relative_drop" not in found["intervals"]


def test_all_fifteen_at_five_severities_by_default(model: zoo.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "evaluate", fake_evaluate({"clean": 0.5}))
    found = sweep.evaluate_corruptions(model, DATA)
    assert set(found["corruptions"]) == set(CORRUPTIONS)
    assert all(list(runs) == ["1", "2", "3", "4", "5"] for runs in found["corruptions"].values())


def test_a_sweep_is_so_many_evaluations(model: zoo.Model, tmp_path: Path) -> None:
    task = get_task("classification")
    data = f"folder:{write_class_folders(tmp_path)}"
    clean = task.open(data)
    found = sweep.evaluate_corruptions(model, data, names=["contrast", "impulse_noise"], severities=[2], seed=5, replicates=20, workers=0)
    for name in ("contrast", "impulse_noise"):
        alone = zoo.evaluate(model, corrupted(clean, name, 2, seed=5), replicates=0, workers=0)
        assert found["corruptions"][name]["2"] == alone["top1"]
    assert found["clean"] == zoo.evaluate(model, data, replicates=0, workers=0)["top1"]
    assert (found["n"], found["expected"], found["seed"], found["data"]) == (12, 12, 5, data)
    written = json.loads(json.dumps(found, allow_nan=False))
    assert {key: written[key] for key in written if key != "preprocess"} == {key: found[key] for key in found if key != "preprocess"}
    assert "generated from these images with this seed" in found["note"]


class Bar(Progress):
    """A progress display that records what would be drawn."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.bars: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self.steps = 0.0

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self.bars.append((label, total))

    def advance(self, note: str = "", steps: float = 1) -> None:
        self.steps += steps
        if note not in self.notes:
            self.notes.append(note)


def test_there_is_one_bar_for_all_runs(model: zoo.Model, tmp_path: Path) -> None:
    bar = Bar()
    data = f"folder:{write_class_folders(tmp_path)}"
    sweep.evaluate_corruptions(model, data, names=["fog"], severities=[1, 4], replicates=0, workers=0, batch_size=5, progress=bar)
    assert bar.bars == [("evaluating", 3)]
    assert bar.steps == pytest.approx(3)
    assert bar.notes == ["clean", "fog 1", "fog 4"]


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"names": ["fogg"]}, UnknownNameError, "fog"),
        ({"names": []}, InputError, r"corruptions: names is \[\]; expected one or more values, each once"),
        ({"names": ["fog", "fog"]}, InputError, r"corruptions: names is \['fog', 'fog'\]; expected one or more values, each once"),
        ({"severities": [6]}, InputError, "severity is 6; expected 1, 2, 3, 4 or 5"),
        ({"severities": []}, InputError, r"corruptions: severities is \[\]"),
    ],
)
def test_mistakes_are_told_before_anything_is_opened(
    model: zoo.Model, arguments: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        sweep.evaluate_corruptions(model, "folder:nowhere", **arguments)
