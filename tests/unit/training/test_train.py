"""Training runs: what they learn and what they write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.listening import Listening
from tests.pictures import COLOURS, picture
from tests.small_training import RECIPE, coloured, fresh, same
from zoo.data.dataset import Sample
from zoo.data.fingerprint import manifest_fingerprint
from zoo.models.archive import load, save
from zoo.models.model import Model
from zoo.task.metric import Scores
from zoo.task.recipe import read_toml
from zoo.tasks.classification.options import ClassificationRecipe
from zoo.training.history import best_epoch
from zoo.training.recipes import settle_epochs
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_learns_and_leaves_its_folder(tmp_path: Path) -> None:
    before = fresh()
    run = train(fresh(), coloured(), coloured(), replace(RECIPE, epochs=5, lr=3e-3), tmp_path / "run")
    assert run.scores is not None
    assert run.scores["top1"] == 1
    assert not run.model.training
    assert not same(run.model.state_dict(), before.state_dict())
    assert {path.name for path in run.folder.iterdir()} == {
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "model",
        "report.html",
        ".lock",
    }
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.history
    assert [line["epoch"] for line in lines] == list(range(1, 6))
    assert lines[-1]["step"] == 15
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["lr"] < 1e-4 < lines[2]["lr"]
    assert lines[-1]["val"]["top1"] == 1
    assert read_toml(run.folder / "recipe.toml", ClassificationRecipe) == replace(RECIPE, epochs=5, lr=3e-3)
    saved = load(run.folder)
    assert same(saved.state_dict(), run.model.state_dict())
    assert saved.metadata["training"]["samples"] == 12
    assert saved.metadata["training"]["recipe"]["lr"] == 3e-3


def test_the_model_of_the_best_epoch_is_kept_with_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Tensor]] = []

    def scored(model: Model, data: object, **options: object) -> Scores:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return Scores({"top1": [0.5, 0.9, None, 0.2][len(seen) - 1]}, 12, 12)

    monkeypatch.setattr("zoo.training.batches.evaluate", scored)
    run = train(fresh(), coloured(), coloured(), replace(RECIPE, epochs=4), tmp_path / "run")
    assert [entry["val"]["top1"] for entry in run.history] == [0.5, 0.9, None, 0.2]
    assert run.scores is not None
    assert run.scores["top1"] == 0.9
    assert same(run.model.state_dict(), seen[1])
    assert not same(seen[1], seen[3])
    summary = load(run.folder).metadata["training"]
    assert (summary["val"], summary["best_epoch"], summary["epoch"]) == ({"top1": 0.9}, 2, 4), "scores of the saved weights"
    assert (summary["val_data"], summary["val_samples"]) == ("coloured", 12)
    assert summary["manifest"] == summary["val_manifest"] == manifest_fingerprint(coloured())


def test_of_epochs_as_good_as_each_other_the_last_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Tensor]] = []

    def scored(model: Model, data: object, **options: object) -> Scores:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return Scores({"top1": [0.9, 0.5, 0.9][len(seen) - 1]}, 12, 12)

    monkeypatch.setattr("zoo.training.batches.evaluate", scored)
    run = train(fresh(), coloured(), coloured(), replace(RECIPE, epochs=3), tmp_path / "run")
    assert same(run.model.state_dict(), seen[2])
    assert not same(seen[0], seen[2])
    best = best_epoch(run.history, "top1")
    assert best is not None
    assert best["epoch"] == 3


def test_training_ends_when_the_score_has_not_risen_for_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.9, 0.8, 0.9, 0.95])
    monkeypatch.setattr("zoo.training.batches.evaluate", lambda *given, **options: Scores({"top1": next(scores)}, 12, 12))
    listening = Listening()
    recipe = replace(RECIPE, epochs=9, early_stop=2)
    run = train(fresh(), coloured(), coloured(), recipe, tmp_path / "run", progress=listening)
    assert [entry["val"]["top1"] for entry in run.history] == [0.5, 0.9, 0.8, 0.9]
    assert run.scores is not None
    assert run.scores["top1"] == 0.9
    assert "top1 has not improved for 2 epochs: stopped early after epoch 4" in listening.lines
    monkeypatch.undo()
    assert train(fresh(), coloured(), coloured(), recipe, tmp_path / "run", resume=True).history == run.history


def test_a_presets_batch_size_gives_way_to_little_data(tmp_path: Path) -> None:
    listening = Listening()
    run = train(fresh(), coloured(12), None, replace(RECIPE, batch_size=32), tmp_path / "run", progress=listening)
    assert read_toml(run.folder / "recipe.toml", ClassificationRecipe).batch_size == 12
    assert "batch_size was reduced from 32 to 12, because the dataset has only 12 samples" in listening.lines


def test_balanced_classes_are_drawn_by_the_recipe(tmp_path: Path) -> None:
    data = coloured(12)
    rare = replace(data, records=(*data.records[::3], data.records[1]))
    seen: list[int] = []
    loop = replace(RECIPE, balance="classes", epochs=40, min_samples=1)
    model = fresh()
    original = model.head.loss

    def loss(features: Any, batch: Any, targets: Tensor) -> dict[str, Tensor]:
        seen.extend(targets.tolist())
        return original(features, batch, targets)

    model.head.loss = loss  # type: ignore[method-assign]
    train(model, rare, None, loop, tmp_path / "run")
    assert len(seen) == 200
    assert 70 < seen.count(1) < 130  # half of the draws, within four standard deviations


def test_two_batches_to_a_step_are_one_of_twice_the_size(tmp_path: Path) -> None:
    """With batch-norm that doesn't depend on the batch, and an optimiser whose updates scale with the gradient."""
    plain = replace(RECIPE, optimizer="momentum", lr=0.01, weight_decay=0.0, freeze="norm", crop_scale=1.0, flip=0.0)
    one = train(fresh(), coloured(16), None, replace(plain, batch_size=8), tmp_path / "one")
    two = train(fresh(), coloured(16), None, replace(plain, batch_size=4, grad_accumulation=2), tmp_path / "two")
    assert [entry["step"] for entry in one.history] == [entry["step"] for entry in two.history] == [2, 4]
    assert two.history[-1]["loss"] == pytest.approx(one.history[-1]["loss"], abs=1e-5)
    for name, value in two.model.state_dict().items():
        torch.testing.assert_close(value, one.model.state_dict()[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("samples", "recipe", "epochs"),
    [
        (1000, ClassificationRecipe(steps=500, batch_size=20), 10),
        (1000, ClassificationRecipe(steps=500, batch_size=20, grad_accumulation=2), 20),
        (10**6, ClassificationRecipe(steps=500), 2),
        (8, ClassificationRecipe(steps=500), 60),
        (8, ClassificationRecipe(steps=500, max_epochs=9), 9),
        (8, ClassificationRecipe(epochs=7), 7),
    ],
)
def test_epochs_follow_the_steps(samples: int, recipe: ClassificationRecipe, epochs: int) -> None:
    assert settle_epochs(recipe, samples / (min(recipe.batch_size, samples) * recipe.grad_accumulation)).epochs == epochs


def test_a_frozen_trunk_stays_as_it_was(tmp_path: Path) -> None:
    before = fresh().backbone.state_dict()
    run = train(fresh(freeze="trunk"), coloured(), coloured(), RECIPE, tmp_path / "run")
    assert same(run.model.backbone.state_dict(), before)
    assert not same(run.model.head.state_dict(), fresh().head.state_dict())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_and_saves_float32(tmp_path: Path, precision: Any) -> None:
    run = train(fresh(), coloured(), None, replace(RECIPE, precision=precision), tmp_path / "run")
    assert all(value.dtype != torch.float16 for value in run.model.state_dict().values())
    assert run.history[-1]["loss"] < 3


def test_samples_need_no_dataset(tmp_path: Path) -> None:
    data = [Sample(picture(COLOURS["red"], index, (32, 32)), index % 3, f"{index}") for index in range(6)]
    run = train(fresh(), data, None, replace(RECIPE, epochs=1), tmp_path / "run")
    assert run.history[0]["epoch"] == 1


@pytest.mark.parametrize("kind", [int, np.int32, np.uint8, bool, np.int64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_of_samples_may_be_of_any_integer_type(tmp_path: Path, kind: type[Any], smoothing: float) -> None:
    data = [Sample(picture(COLOURS["red"], index, (32, 32)), kind(index % 2), f"{index}") for index in range(4)]
    recipe = replace(RECIPE, epochs=1, label_smoothing=smoothing)
    run = train(fresh(), data, None, recipe, tmp_path / "run")
    assert np.isfinite(run.history[0]["loss"])


def test_a_trained_model_goes_on_in_another_run(tmp_path: Path) -> None:
    first = train(fresh(), coloured(), None, replace(RECIPE, epochs=1), tmp_path / "one")
    again = train(load(save(first.model, tmp_path / "m")), coloured(), None, replace(RECIPE, epochs=1), tmp_path / "two")
    assert not same(first.model.state_dict(), load(again.folder).state_dict()) or first.model is again.model
