"""Training embeddings: sampling by recipe and loss, and training runs with each loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.listening import Listening
from tests.small_training import StopAt, same
from zoo.data.dataset import Dataset, Record
from zoo.data.sampling import Balanced, Shuffled
from zoo.errors import InputError
from zoo.system.signals import Interrupted
from zoo.task.contract import get_task
from zoo.task.recipe import read_toml, to_toml
from zoo.tasks.face.embedding.options import FaceOptions
from zoo.tasks.face.training.recipe import RECIPES, FaceRecipe
from zoo.tasks.face.training.sampling import IdentityBatches

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = FaceRecipe(epochs=2, batch_size=8, precision="fp32", workers=0)


def people(sizes: tuple[int, ...] = (4, 4, 4, 3, 1)) -> Dataset:
    """Return a dataset whose people differ in colour, and the images of a person in noise."""
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 216, (len(sizes), 3))
    records = [
        Record(f"p{person}/{number}", (colours[person] + generator.integers(-30, 30, (32, 32, 3))).astype(np.uint8), person)
        for person, size in enumerate(sizes)
        for number in range(size)
    ]
    return Dataset("people", tuple(records), tuple(f"p{person}" for person in range(len(sizes))))


def fresh(seed: int = 3, identities: int = 5, **options: Any) -> zoo.Model:
    torch.manual_seed(seed)
    return zoo.build("test_resnet", "face", num_classes=identities, **{"image_size": 32, "embedding_size": 8, **options})


def suited(loss: Any, pictures: int | None = None) -> Any:
    return get_task("face").data.suit(replace(RECIPE, pictures_per_identity=pictures), FaceOptions(loss=loss))


@pytest.mark.parametrize(("loss", "given", "used"), [
    ("arcface", None, 0), ("cosface", None, 0), ("triplet", None, 4), ("triplet", 2, 2), ("arcface", 3, 3), ("cosface", 0, 0),
])  # fmt: skip
def test_a_loss_has_the_batches_that_it_needs(loss: str, given: int | None, used: int) -> None:
    assert suited(loss, given) == replace(RECIPE, pictures_per_identity=used)


def test_triplets_are_not_trained_on_shuffled_batches(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pictures_per_identity is 0, but the loss triplet .*; set it to 2 or more \(default: 4"):
        zoo.train(fresh(loss="triplet"), people(), None, replace(RECIPE, pictures_per_identity=0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("pictures", [1, -2])
def test_batches_that_show_no_one_twice_are_refused(pictures: int) -> None:
    with pytest.raises(InputError, match=rf"pictures_per_identity is {pictures}; expected 0 \(plain shuffling\), or 2 or more"):
        FaceRecipe(pictures_per_identity=pictures)


@pytest.mark.parametrize("pictures", [None, 0, 3])
def test_the_recipe_is_read_back_as_it_was_written(pictures: int | None, tmp_path: Path) -> None:
    recipe = FaceRecipe(pictures_per_identity=pictures)
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert read_toml(tmp_path / "recipe.toml", FaceRecipe) == recipe


def sampling(recipe: FaceRecipe, data: Dataset, processes: int = 1) -> Any:
    return get_task("face").data.sampling(recipe, data, recipe.batch_size * processes, 2 * processes)


def test_the_recipe_chooses_the_sampling() -> None:
    data = people()
    assert sampling(replace(RECIPE, pictures_per_identity=0), data) == Shuffled(16, 8, 2)
    assert isinstance(sampling(replace(RECIPE, pictures_per_identity=0, balance="classes"), data), Balanced)
    batches = sampling(replace(RECIPE, pictures_per_identity=3), data, processes=2)
    assert isinstance(batches, IdentityBatches)
    assert (batches.people, batches.pictures) == (4, 3)
    assert list(batches.identities) == [record.target for record in data.records]


@pytest.mark.parametrize("loss", ["arcface", "triplet"])
def test_one_identity_is_refused_before_the_first_step(loss: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset 'people' has fewer than two identities; .*two or more"):
        zoo.train(fresh(identities=1, loss=loss), people((9,)), None, RECIPE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("loss", "sample_rate"), [("arcface", 1.0), ("cosface", 1.0), ("triplet", 1.0), ("arcface", 0.5), ("cosface", 0.5)]
)
def test_every_loss_trains_and_its_model_embeds(loss: str, sample_rate: float, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=12, lr=3e-3, warmup=0.0)
    before = fresh(loss=loss, sample_rate=sample_rate)
    run = zoo.train(fresh(loss=loss, sample_rate=sample_rate), people(), None, recipe, tmp_path / "run")
    assert list(run.history[0]["losses"]) == [f"loss_{loss}"]
    assert run.history[-1]["loss"] < 0.8 * run.history[0]["loss"]
    fixed = {name for name, value in run.model.named_parameters() if torch.equal(value, before.get_parameter(name))}
    assert fixed == set()
    assert read_toml(run.folder / "recipe.toml", FaceRecipe).pictures_per_identity == (4 if loss == "triplet" else 0)
    again = zoo.load(run.folder)
    assert same(again.state_dict(), run.model.state_dict())
    scores = zoo.evaluate(again, people((3, 3, 3)))
    assert scores["auc"] is not None


@pytest.mark.parametrize("options", [{"sample_rate": 0.5}, {"loss": "triplet"}])
def test_an_interrupted_run_draws_the_same_as_one_that_was_not(options: dict[str, Any], tmp_path: Path) -> None:
    whole = zoo.train(fresh(**options), people(), None, RECIPE, tmp_path / "whole")
    with pytest.raises(Interrupted):
        zoo.train(fresh(**options), people(), None, RECIPE, tmp_path / "run", progress=StopAt(3))
    run = zoo.train(fresh(99, **options), people(), None, RECIPE, tmp_path / "run", resume=True)
    assert same(run.model.state_dict(), whole.model.state_dict())
    assert run.history == whole.history


@pytest.mark.parametrize("what", ["trunk", "norm", "trunk,norm"])
def test_the_heads_own_batch_norm_learns_where_the_trunks_is_frozen(what: str, tmp_path: Path) -> None:
    before = fresh()
    run = zoo.train(fresh(), people(), None, replace(RECIPE, freeze=what), tmp_path / "run")
    trunk = {name: torch.equal(value, before.backbone.state_dict()[name]) for name, value in run.model.backbone.state_dict().items()}
    assert all(kept for name, kept in trunk.items() if what != "norm" or "bn" in name)
    head = before.head.state_dict()
    assert {name for name, value in run.model.head.state_dict().items() if torch.equal(value, head[name])} == set()


def test_an_identity_with_one_picture_is_learned_from_and_said(tmp_path: Path) -> None:
    said = Listening()
    zoo.train(fresh(loss="triplet"), people(), None, replace(RECIPE, epochs=1), tmp_path / "run", progress=said)
    assert "data 'people': p4 has only one sample: little can be learned" in said.lines


def test_the_presets_train_longer_and_longer() -> None:
    assert RECIPES["standard"] == FaceRecipe()
    assert RECIPES["quick"].steps < RECIPES["standard"].steps < RECIPES["thorough"].steps


def test_a_trained_embedder_knows_from_its_validation_how_far_one_person_reaches(tmp_path: Path) -> None:
    model = fresh()
    model.metadata["threshold"] = 0.1
    run = zoo.train(model, people(), people((3, 3, 3, 3, 3, 3)), replace(RECIPE, epochs=1), tmp_path / "run")
    assert run.scores is not None
    similarity = run.scores.details["threshold"]
    saved = zoo.load(run.folder).metadata
    assert saved["threshold"] == 1 - similarity
    again = zoo.train(zoo.load(run.folder), people(), None, replace(RECIPE, epochs=1), tmp_path / "again")
    assert again.model.metadata["threshold"] is None


@pytest.mark.parametrize(("similarity", "expected"), [(0.75, {"threshold": 0.25}), (1.0, {}), (1.5, {}), (None, {})])
def test_a_threshold_is_a_distance_above_0_or_none(similarity: float | None, expected: dict[str, float]) -> None:
    scores: Any = SimpleNamespace(
        details={"threshold": similarity}
    )  # the threshold is above every pair's cosine where all pairs are impostors
    assert get_task("face").building.trained_metadata(scores) == expected
