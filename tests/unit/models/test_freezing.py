"""Freezing and unfreezing: which parameters learn, which statistics change, and the `freeze` entry of the config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from tests.listening import Listening
from tests.small_training import RECIPE, coloured, fresh
from zoo.errors import InputError
from zoo.models.model import Model
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = {"classification": {"num_classes": 3}, "detection": {"num_classes": 2, "image_size": 64}, "face": {"num_classes": 4}}


def learning(model: Model) -> set[str]:
    """Return the modules of the backbone that have trainable parameters."""
    return {name.split(".")[1] for name, parameter in model.named_parameters() if name.startswith("backbone.") and parameter.requires_grad}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("what", ["norm", "stages=1,norm", "norm,stages=1"])
def test_frozen_batch_norm_keeps_statistics_and_parameters_while_convolutions_learn(task: str, what: str) -> None:
    options: dict[str, Any] = TASKS[task]
    model = zoo.build("resnet20", task, freeze=what, **options).train()
    norms = [module for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    convolutions = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
    assert sum(module.weight.requires_grad for module in convolutions) == (len(convolutions) if what == "norm" else 12)
    assert all(parameter.requires_grad for parameter in model.head.parameters())


def test_frozen_batch_norm_learns_again() -> None:
    model = zoo.freeze(zoo.build("resnet20", num_classes=2).train(), "norm")
    assert not model.backbone.get_submodule("bn1").training
    zoo.unfreeze(model)
    assert model.config.freeze == "none"
    assert model.backbone.get_submodule("bn1").training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("before", "stages", "after", "parts"),
    [
        ("trunk", 1, "stages=2", {"layer3"}),
        ("trunk", 2, "stages=1", {"layer2", "layer3"}),
        ("trunk", 4, "none", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("trunk", 9, "none", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("stages=0", 1, "none", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("trunk,norm", 1, "stages=2,norm", {"layer3"}),
        ("stages=0,norm", 1, "norm", {"conv1", "layer1", "layer2", "layer3"}),
        ("trunk", None, "none", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
    ],
)
def test_the_deepest_stages_are_set_free_first(before: str, stages: int | None, after: str, parts: set[str]) -> None:
    model = zoo.build("resnet20", num_classes=2, freeze=before)
    assert zoo.unfreeze(model, stages) is model
    assert (model.config.freeze, learning(model)) == (after, parts)


def test_no_stage_can_not_be_set_free() -> None:
    with pytest.raises(InputError, match="stages is 0; expected 1 or more, or None for the whole backbone"):
        zoo.unfreeze(zoo.build("resnet20", num_classes=2), 0)


@pytest.mark.parametrize("what", ["half", "stages=9", "stages=1;norm", "", "stages=-1"])
def test_what_can_not_be_frozen(what: str) -> None:
    with pytest.raises(InputError, match=f"freeze is '{what}'; expected 'none', 'trunk', 'stages=N' with N up to 3, 'norm'"):
        zoo.freeze(zoo.build("resnet20", num_classes=2), what)


def test_the_recipe_freezes_and_the_saved_model_says_so(tmp_path: Path) -> None:
    before = fresh().backbone.state_dict()
    run = train(fresh(), coloured(), None, replace(RECIPE, freeze="trunk"), tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in run.model.backbone.state_dict().items())
    assert zoo.load(run.folder).config.freeze == "trunk"


def test_a_gradual_schedule_sets_stage_after_stage_free_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    model, said = fresh(), Listening()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    recipe = replace(RECIPE, freeze="trunk", unfreeze_every=1, epochs=3)
    run = train(model, coloured(), None, recipe, tmp_path / "run", progress=said)
    changed = {name.split(".")[0] for name, value in run.model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    stages = [{name.split(".")[0] for name in _names(model, stage)} for stage in model.backbone.stages()]
    assert changed == stages[-1] | stages[-2]
    assert [line.split(": ")[1] for line in said.lines if "freeze is now" in line] == [
        f"freeze is now 'stages={len(stages) - 2}'",
        f"freeze is now 'stages={len(stages) - 3}'",
    ]
    again = train(fresh(), coloured(), None, recipe, tmp_path / "run", resume=True)
    assert again.history == run.history


def _names(model: Model, stage: Any) -> list[str]:
    return [name for name, module in model.backbone.named_modules() if any(module is part for part in stage)]


def test_a_model_without_anything_left_to_learn_is_refused(tmp_path: Path) -> None:
    model = fresh(freeze="trunk")
    model.head.requires_grad_(False)
    with pytest.raises(InputError, match="freeze is 'trunk', so there are no parameters to train; freeze fewer layers"):
        train(model, coloured(), None, RECIPE, tmp_path / "run")
