"""Heads that are trained on a frozen backbone, and what happens to those that aren't; resumed runs; comparison with single heads."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.forking import Job, run_job
from tests.listening import Listening
from tests.pictures import picture
from tests.small_training import (
    NAMES,
    PAIR,
    StopAt,
    boxed,
    coloured,
    detector_and_classifier,
    joint_recipe,
    labelled,
    same,
    two_classifiers,
)
from zoo.errors import InputError, UnknownNameError
from zoo.models.archive import load
from zoo.models.joint import add_task
from zoo.models.model import Model
from zoo.system.signals import Interrupted
from zoo.training.checkpoints import CHECKPOINT
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = {"one": coloured(12), "two": coloured(20)}
VAL = {"one": coloured(6), "two": coloured(6)}


def state_of(model: Model, name: str) -> dict[str, Tensor]:
    """Return copies of the parameters and buffers that a head's predictions depend on."""
    return {key: value.clone() for key, value in model.view(name).state_dict().items()}


def answers(model: Model, name: str) -> Any:
    images = [picture((90, 20, 160), seed, (48, 48)) for seed in range(3)]
    with torch.inference_mode():
        found = model.eval()(images, tasks=[name])[name]
    return found if isinstance(found, Tensor) else torch.cat([torch.cat([each["boxes"].flatten(), each["scores"]]) for each in found])


# -- heads without data -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "ema": 0.9}, {"feature_cache": False, "ema": 0.5, "clip_grad": 1.0}])
def test_a_head_is_added_and_the_others_stay(tmp_path: Path, settings: Mapping[str, Any]) -> None:
    """The detector has a feature pyramid with batch-norm, and its backbone batch-norm statistics."""
    torch.manual_seed(3)
    model = zoo.build("resnet20", "detection", classes=NAMES, image_size=48, max_image_size=48, fpn_channels=16, head_version=2)
    add_task(model, "kinds", "classification", classes=NAMES)
    before, expected, new = state_of(model, "detection"), answers(model, "detection"), state_of(model, "kinds")
    listening = Listening()
    recipe = joint_recipe(model, weight_decay=0.5, lr=0.1, freeze="trunk", **settings)
    run = train(model, {"kinds": coloured(12)}, {"kinds": coloured(6)}, recipe, tmp_path / "run", progress=listening)
    saved = load(run.folder)
    assert same(state_of(saved, "detection"), before)
    for each in (saved, run.model):
        assert torch.equal(answers(each, "detection"), expected)
    assert not same(state_of(saved, "kinds"), new)
    assert "no data for detection: not trained, so their predictions don't change" in listening.lines
    cached = settings.get("feature_cache", True)
    assert any("trained on cached features" in line for line in listening.lines) == cached
    assert [*run.scores] == ["kinds"]
    groups = torch.load(run.folder / CHECKPOINT, weights_only=True)["optimizer"]["param_groups"]
    assert sum(len(group["params"]) for group in groups) == 2, "weight and bias of the classifier"
    assert all(parameter.requires_grad for parameter in model.heads["detection"].parameters()), "as before the run"
    assert "threshold" not in saved.head_metadata("detection")


def test_metadata_of_heads_that_are_not_trained_stay(tmp_path: Path) -> None:
    model = two_classifiers(freeze="trunk")
    model.head_metadata("one")["note"] = "kept"
    train(model, {"two": coloured(12)}, None, joint_recipe(model), tmp_path / "run")
    assert load(tmp_path / "run").head_metadata("one")["note"] == "kept"


def test_adapters_of_other_heads_stay(tmp_path: Path) -> None:
    model = two_classifiers(adapters=True)
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # those that are 0 at first stop the gradients
    before, own = state_of(model, "one"), state_of(model, "two")
    listening = Listening()
    run = train(model, {"two": coloured(12)}, None, joint_recipe(model, weight_decay=0.5, lr=0.1), tmp_path / "run", progress=listening)
    assert same(state_of(run.model, "one"), before)
    changed = [key for key, value in state_of(run.model, "two").items() if not torch.equal(value, own[key])]
    assert any("adapters" in key for key in changed)
    assert not any("backbone" in key for key in changed)
    assert any(line.endswith("the adapters of two are trained, so its features can't be cached") for line in listening.lines)


@pytest.mark.parametrize(("freeze", "unfreeze_every"), [(None, 0), ("stages=1", 0), ("norm", 0), ("trunk", 1)])
def test_a_head_without_data_needs_a_frozen_backbone(tmp_path: Path, freeze: str | None, unfreeze_every: int) -> None:
    model = two_classifiers()
    recipe = joint_recipe(model, freeze=freeze, unfreeze_every=unfreeze_every)
    with pytest.raises(InputError, match=r"no data for one, whose predictions would change .*--data one=….*--freeze trunk"):
        train(model, {"two": coloured(12)}, None, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- cached features --------------------------------------------------------------------------------------------------------------


def test_heads_of_one_pass_learn_from_cached_features(tmp_path: Path) -> None:
    listening, model = Listening(), two_classifiers()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    recipe = joint_recipe(model, freeze="trunk", lr=0.1, epochs=6, loss_weights="uncertainty")
    run = train(model, DATA, VAL, recipe, tmp_path / "run", progress=listening)
    assert any(line.startswith("the heads are trained on cached features") for line in listening.lines)
    assert same(model.backbone.state_dict(), before)
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    for name in PAIR:  # the same scores as from images
        assert zoo.evaluate(model.view(name), VAL[name], replicates=0)["top1"] == run.scores[name]["top1"]


def test_why_features_can_not_be_cached(tmp_path: Path) -> None:
    listening, model, data = Listening(), detector_and_classifier(freeze="trunk"), boxed()
    recipe = joint_recipe(model, epochs=1)
    train(model, {"parts": data, "kinds": labelled(data)}, None, recipe, tmp_path / "a", progress=listening)
    reason = "the frozen backbone runs in every epoch: the head of parts needs full feature maps, which the cache doesn't hold"
    assert reason in listening.lines
    model = two_classifiers(freeze="trunk", image_size={"one": 32, "two": 64})
    train(model, DATA, None, joint_recipe(model, epochs=1), tmp_path / "b", progress=listening)
    reason = "the frozen backbone runs in every epoch: the cache holds the features of one pass, but the heads need 2 (size_hw is"
    assert any(line.startswith(reason) for line in listening.lines)


# -- interruption -------------------------------------------------------------------------------------------------------------------


MIXED = {"mix": "temperature=2", "loss_weights": "uncertainty", "grad_accumulation": 2, "ema": 0.9, "epochs": 3}


@pytest.mark.parametrize(("batch", "workers"), [(3, 0), (9, 1), (16, 0)])
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(tmp_path: Path, batch: int, workers: int) -> None:
    model = two_classifiers(dropout=0.5)
    recipe = joint_recipe(model, workers=workers, **MIXED)
    whole = train(model, DATA, VAL, recipe, tmp_path / "whole")
    with pytest.raises(Interrupted, match="continue with the same command and --resume"):
        train(two_classifiers(dropout=0.5), DATA, VAL, recipe, tmp_path / "run", progress=StopAt(batch))
    run = train(two_classifiers(99, dropout=0.5), DATA, VAL, recipe, tmp_path / "run", resume=True)
    assert same(load(run.folder).state_dict(), load(whole.folder).state_dict())
    assert (run.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    assert {name: own["top1"] for name, own in run.scores.items()} == {name: own["top1"] for name, own in whole.scores.items()}


KILLED = """
import signal, sys
from pathlib import Path
from tests.small_training import joint_recipe, two_classifiers
from tests.small_training import StopAt, coloured
from tests.unit.training.test_joint_frozen import DATA, MIXED, VAL
from zoo.training.train import train
model = two_classifiers()
train(model, DATA, VAL, joint_recipe(model, **MIXED), sys.argv[1], checkpoint_minutes=0, progress=StopAt(11, signal.SIGKILL))
"""


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    killed = run_job(Job([str(tmp_path / "run")], KILLED))
    assert killed.status == -signal.SIGKILL, killed.stderr
    recipe = joint_recipe(two_classifiers(), **MIXED)
    run = train(two_classifiers(), DATA, VAL, recipe, tmp_path / "run", resume=True)
    whole = train(two_classifiers(), DATA, VAL, recipe, tmp_path / "whole")
    assert same(run.model.state_dict(), whole.model.state_dict())
    assert (run.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()


def test_a_run_is_resumed_with_the_same_data_and_recipe_alone(tmp_path: Path) -> None:
    model = two_classifiers()
    train(model, DATA, None, joint_recipe(model, epochs=1), tmp_path / "run")
    other = {**DATA, "two": coloured(18)}
    with pytest.raises(InputError, match=r"samples: two was 20, is 18; manifest: two was"):
        train(two_classifiers(), other, None, joint_recipe(model, epochs=1), tmp_path / "run", resume=True)
    with pytest.raises(InputError, match=r"recipe: mix was proportional, is equal; recipe: heads: one: flip was 0.5, is 0.0"):
        train(two_classifiers(), DATA, None, joint_recipe(model, epochs=1, mix="equal", flip={"one": 0.0}), tmp_path / "run", resume=True)


# -- beside the heads alone -----------------------------------------------------------------------------------------------------------


def test_each_head_alone_sees_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    from zoo.training.gradients import Gradients

    whole = Gradients.add

    def add(self: Any, batch: Any, *given: Any, **named: Any) -> Any:
        heads = tuple(head.name for head in self._streams[batch.source].heads)
        seen.setdefault((str(len(self._streams)), *heads), []).append(batch.keys)
        return whole(self, batch, *given, **named)

    monkeypatch.setattr(Gradients, "add", add)
    model = two_classifiers()
    recipe = joint_recipe(model, mix="equal", epochs=3)
    run = train(model, DATA, VAL, recipe, tmp_path / "run", beside_alone=True)
    assert len(seen["1", "one"]) == len(seen["1", "two"]) == 12
    for name in PAIR:
        assert seen["2", name] == seen["1", name]
        alone = load(run.folder / "alone" / name)
        assert alone.task == "classification"
        expected = zoo.evaluate(alone, VAL[name])
        assert run.alone[name]["top1"] == expected["top1"]
        assert run.alone[name].intervals == expected.intervals
        assert run.scores[name].intervals
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert '<section id="alone"><h2>Jointly and alone</h2>' in page
    low, high = run.alone["two"].intervals["top1"]
    assert f"{run.alone['two']['top1']:.4f} [{low:.4f}, {high:.4f}]" in page


def test_a_head_that_does_not_lead_is_trained_alone_on_the_same_images(tmp_path: Path) -> None:
    model, data = detector_and_classifier(), boxed()
    kinds = labelled(data)
    both = {("parts", "kinds"): {"parts": data, "kinds": kinds}}
    recipe = joint_recipe(model, epochs=1, batch_size=3)
    run = train(model, both, {"parts": data, "kinds": kinds}, recipe, tmp_path / "run", beside_alone=True)
    steps = {name: json.loads((run.folder / "alone" / name / "metrics.jsonl").read_text())["step"] for name in ("parts", "kinds")}
    assert steps == {"parts": 2, "kinds": 2}
    assert 'id="head-parts"' in (run.folder / "report.html").read_text()


def test_the_heads_alone_are_resumed_too(tmp_path: Path) -> None:
    model = two_classifiers()
    recipe = joint_recipe(model)
    whole = train(model, DATA, VAL, recipe, tmp_path / "whole", beside_alone=True)
    with pytest.raises(Interrupted):  # 16 batches jointly, 6 of the first head alone
        train(two_classifiers(), DATA, VAL, recipe, tmp_path / "run", beside_alone=True, progress=StopAt(16 + 4))
    run = train(two_classifiers(), DATA, VAL, recipe, tmp_path / "run", beside_alone=True, resume=True)
    for name in ("one", "two"):
        assert same(load(run.folder / "alone" / name).state_dict(), load(whole.folder / "alone" / name).state_dict())


# -- wrong arguments ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "val", "message"),
    [
        (coloured(6), None, r"data is a Dataset, but the model has several heads \(one, two\); pass a mapping from head name"),
        ({}, None, "data is an empty mapping; expected an entry for at least one of the heads one, two"),
        ({"onne": coloured(6)}, None, "unknown head in data: 'onne'. Nearest: one"),
        ({"one": coloured(6), ("one", "two"): coloured(6)}, None, "data has several entries for the head 'one'"),
        ({"one,two": {"one": coloured(6)}}, None, "the mapping for several heads has no entry for 'two'; it has one"),
        (DATA, {"three": coloured(6)}, "unknown head in val: 'three'"),
        (DATA, coloured(6), "val is a Dataset, but the model has several heads"),
        ({**DATA, "two": boxed(4)}, None, ""),
    ],
)
def test_wrong_data(tmp_path: Path, data: Any, val: Any, message: str) -> None:
    model = two_classifiers()
    if not message:
        other = replace(coloured(4), classes=("blue", "green", "violet"))
        data, message = {**DATA, "two": other}, r"1 of its 3 classes are unknown to the model \(violet\)"
    with pytest.raises(InputError, match=message):
        train(model, data, val, joint_recipe(model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_of_a_head_that_is_not_trained(tmp_path: Path) -> None:
    model = two_classifiers(freeze="trunk")
    with pytest.raises(InputError, match=r"val has data of the head 'two', which isn't trained; omit it"):
        train(model, {"one": coloured(6)}, VAL, joint_recipe(model), tmp_path / "run")


def test_two_detectors_need_data_of_their_own(tmp_path: Path) -> None:
    heads = {"one": "detection", "two": "detection"}
    model = zoo.build("resnet20", heads, classes=dict.fromkeys(heads, NAMES), image_size=48, max_image_size=48, fpn_channels=16)
    with pytest.raises(
        InputError, match=r"heads 'one' and 'two' have targets with coordinates and share the data 'boxed', but .*--data one=… --data two=…"
    ):
        train(model, {("one", "two"): boxed()}, None, joint_recipe(model), tmp_path / "run")


def test_wrong_recipes(tmp_path: Path) -> None:
    model = two_classifiers()
    with pytest.raises(InputError, match=r"recipe is a ClassificationRecipe; expected a JointRecipe, because the model has several heads"):
        train(model, DATA, None, zoo.recipe("classification"), tmp_path / "run")
    other = zoo.recipe({"one": "classification", "three": "classification"})
    with pytest.raises(UnknownNameError, match=r"unknown head in the recipe: 'three'. Known: one, two"):
        train(model, DATA, None, other, tmp_path / "run")
    with pytest.raises(InputError, match=r"the recipe has nothing for the head 'two'; expected a ClassificationRecipe"):
        train(model, DATA, None, zoo.recipe({"one": "classification"}), tmp_path / "run")
    with pytest.raises(InputError, match=r"the recipe has a DetectionRecipe for the head 'two'"):
        train(model, DATA, None, zoo.recipe({"one": "classification", "two": "detection"}), tmp_path / "run")
    with pytest.raises(InputError, match=r"recipe is a JointRecipe; expected a ClassificationRecipe for the task classification"):
        train(zoo.split(model, "one"), coloured(6), None, joint_recipe(model), tmp_path / "run")


def test_what_can_not_be_compared_with_heads_alone(tmp_path: Path) -> None:
    model = two_classifiers()
    with pytest.raises(InputError, match=r"compares validation scores, but the head 'two' has no validation data \(--val two=…\)"):
        train(model, DATA, {"one": coloured(6)}, joint_recipe(model), tmp_path / "run", beside_alone=True)
    with pytest.raises(InputError, match="beside_alone compares the heads of a model with several heads, but the model has only one"):
        train(zoo.split(model, "one"), coloured(6), coloured(6), None, tmp_path / "run", beside_alone=True)


def test_nearest_neighbours_are_not_trained_with_others(tmp_path: Path) -> None:
    model = two_classifiers(freeze="trunk", classifier={"two": "knn"})
    with pytest.raises(InputError, match=r"the head two stores features instead of being trained, which isn't possible together"):
        train(model, DATA, None, joint_recipe(model), tmp_path / "run")


def test_a_model_with_one_head_takes_a_mapping_too(tmp_path: Path) -> None:
    model = zoo.build("test_resnet", {"kinds": "classification"}, classes=NAMES, image_size=32)
    recipe = zoo.recipe("classification", epochs=1, batch_size=4, workers=0)
    run = train(model, {"kinds": coloured(8)}, {"kinds": coloured(6)}, recipe, tmp_path / "run")
    assert run.scores["top1"] == zoo.evaluate(run.model, coloured(6), replicates=0)["top1"]
    assert np.isfinite(run.history[0]["losses"]["loss_classifier"])
