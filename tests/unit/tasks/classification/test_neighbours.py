"""k-nearest-neighbours classifier: its votes, and training, saving and prediction as with any other model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from tests.forking import in_processes
from tests.pictures import cut_short, write_class_folders
from tests.small_training import RECIPE, coloured, fresh, same
from zoo.cli.main import main
from zoo.errors import InputError, UnknownNameError
from zoo.evaluation.evaluate import evaluate
from zoo.models.archive import load
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.tasks.classification.head import NeighbourHead
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

KNN = replace(RECIPE, freeze="trunk")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def remembered(model: Model) -> int:
    """Return the number of images stored in a model."""
    assert isinstance(model.head, NeighbourHead)
    return len(model.head.memory)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_votes_are_those_of_scikit_learn(neighbours: int) -> None:
    """Votes are weighted by exp(cosine / 0.07); scikit-learn's cosine distance is one minus the cosine."""
    generator = np.random.default_rng(0)
    memory, labels, asked = generator.normal(size=(60, 8)), generator.integers(0, 4, 60), generator.normal(size=(30, 8))
    head = NeighbourHead(8, 4, neighbours)
    head.remember(torch.from_numpy(memory).float(), torch.from_numpy(labels))
    theirs = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = theirs.fit(memory, labels).predict_proba(asked)
    found = head.answer(torch.from_numpy(asked).float()).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fewer_pictures_than_neighbours_all_vote() -> None:
    head = NeighbourHead(2, 3, 20)
    head.remember(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([0, 2]))
    logits = head.answer(torch.tensor([[3.0, 0.0]]))
    assert logits.isfinite().all()
    assert logits.argsort(descending=True).tolist() == [[0, 2, 1]]
    assert head.pooled_loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))["loss_classifier"] == pytest.approx(0, abs=0.01)


def test_a_run_remembers_and_its_model_is_like_any_other(tmp_path: Path) -> None:
    run = train(fresh(classifier="knn", neighbours=3), coloured(12), coloured(9), KNN, tmp_path / "run")
    assert run.scores is not None
    assert run.scores["top1"] == 1
    assert same(run.model.backbone.state_dict(), fresh().backbone.state_dict())
    assert [entry["epoch"] for entry in run.history] == [1]
    assert run.history[0]["val"] == dict(run.scores)
    saved = load(run.folder)
    assert same(saved.state_dict(), run.model.state_dict())
    assert remembered(saved) == 12
    assert saved.config.options["classifier"] == "knn"
    assert dict(evaluate(saved, coloured(9), replicates=0)) == pytest.approx(dict(run.scores), abs=1e-6)
    answers: list[Any] = list(predict(saved, [coloured()[index].image for index in range(3)]))
    assert [answer.label for answer in answers] == [0, 1, 2]
    again = train(fresh(9, classifier="knn", neighbours=3), coloured(12), coloured(9), KNN, tmp_path / "other")
    assert not same(again.model.state_dict(), run.model.state_dict())  # a different backbone


def test_a_run_that_is_resumed_remembers_the_same(tmp_path: Path) -> None:
    first, again = (
        train(fresh(classifier="knn"), coloured(), coloured(6), KNN, tmp_path / "run", resume=resume).model.state_dict()
        for resume in (False, True)
    )
    assert same(first, again)


def test_a_knn_model_is_the_start_of_a_trained_one(tmp_path: Path) -> None:
    said: list[str] = []
    run = train(fresh(classifier="knn"), coloured(), None, KNN, tmp_path / "run")
    other = build(
        "test_resnet", classes=run.model.classes, weights=run.folder / "model", classifier="linear", image_size=32, say=said.append
    )
    assert same(other.backbone.state_dict(), run.model.backbone.state_dict())
    assert {*said[0].partition("newly initialised: ")[2].split(", ")} == {"fc.bias", "fc.weight", "labels", "memory"}


def test_pictures_that_can_not_be_read_are_not_remembered(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "data", suffix=".jpg")
    cut_short(root / "green" / "1.jpg")
    run = train(fresh(classifier="knn"), f"folder:{root}", None, KNN, tmp_path / "run", on_error="skip")
    assert [fault.key for fault in run.skipped] == ["green/1.jpg"]
    assert run.history[0]["skipped"] == 1
    assert remembered(load(run.folder)) == 11
    assert all(value.isfinite().all() for value in load(run.folder).state_dict().values())


def test_nothing_is_answered_before_anything_is_remembered() -> None:
    with pytest.raises(InputError, match=r"classifier 'knn' has no stored images yet; train the model first"):
        fresh(classifier="knn")(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("change", [{"freeze": None}, {"freeze": "stages=1"}, {"feature_cache": False}, {"unfreeze_every": 1}])
def test_the_trunk_must_stay_as_it_is(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"this head stores features and needs a frozen backbone: pass --freeze trunk"):
        train(fresh(classifier="knn"), coloured(), None, replace(KNN, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_that_can_not_be_meant() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown classifier 'kn'\. Nearest: knn"):
        build("test_resnet", num_classes=2, classifier="kn")
    with pytest.raises(InputError, match="classification: neighbours is 0; expected a number above 0"):
        build("test_resnet", num_classes=2, classifier="knn", neighbours=0)
    with pytest.raises(InputError, match="classification needs at least one class, got 0"):
        NeighbourHead(8, 0, 20)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"folder:{write_class_folders(tmp_path / 'data')}"
    words = ["train", "--data", data, "--val", data, "--out", str(tmp_path / "run"), "--backbone", "test_resnet", "--image-size", "32"]
    assert main([*words, "--freeze", "trunk", "--classifier", "knn", "--neighbours", "1", "--workers", "0", "--quiet"]) == 0
    assert main(["eval", str(tmp_path / "run"), "--data", data, "--json", "--quiet"]) == 0
    assert '"top1": 1.0' in capsys.readouterr().out


PROGRAM = """
import json, os, sys
import torch
from tests.unit.tasks.classification.test_neighbours import KNN, coloured, fresh
from zoo.training.train import train

torch.set_num_threads(1)
os.environ["ZOO_CACHE"], out = sys.argv[1:]
run = train(fresh(classifier="knn", neighbours=3), coloured(12), coloured(9), KNN, out)
print(json.dumps({"remembered": len(run.model.head.memory), "n": run.scores.n, "top1": run.scores["top1"]}))
"""


@pytest.mark.slow
def test_two_processes_remember_everything(tmp_path: Path) -> None:
    found = in_processes(2, PROGRAM, str(tmp_path / "shared"), str(tmp_path / "run"))
    assert found == {"remembered": 12, "n": 9, "top1": 1.0}
    assert remembered(load(tmp_path / "run")) == 12
