"""Recipes of models with several heads."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.errors import InputError, UnknownNameError
from zoo.task.joint import JointRecipe
from zoo.task.recipe import to_toml
from zoo.tasks.classification.options import ClassificationRecipe
from zoo.tasks.detection.training.recipe import DetectionRecipe

TASKS = {"species": "classification", "parts": "detection"}


def joint(preset: str = "standard", **settings: Any) -> JointRecipe:
    found = zoo.recipe(TASKS, preset, **settings)
    assert isinstance(found, JointRecipe)
    return found


def test_the_run_follows_from_the_recipes_of_its_heads() -> None:
    recipe, one, two = joint("quick"), zoo.recipe("classification", "quick"), zoo.recipe("detection", "quick")
    assert recipe.steps == one.steps + two.steps == 800
    assert recipe.lr == min(one.lr, two.lr) == 5e-4
    assert recipe.clip_grad == 5.0
    assert recipe.max_epochs == 20
    assert joint("thorough").ema == 0.999, "both tasks average"
    assert isinstance(recipe.heads["species"], ClassificationRecipe)
    assert isinstance(recipe.heads["parts"], DetectionRecipe)
    assert recipe.heads["parts"] == replace(two, steps=800, max_epochs=20, lr=5e-4, clip_grad=5.0)
    assert [*zoo.recipe(["classification", "detection"]).heads] == ["classification", "detection"]


def test_settings_of_the_run_reach_the_heads() -> None:
    recipe = replace(joint(), lr=0.5, epochs=3)
    assert {(own.lr, own.epochs) for own in recipe.heads.values()} == {(0.5, 3)}


def test_settings_of_one_head_of_some_and_of_all() -> None:
    recipe = joint(flip=0.0, light=0.1, batch_size={"species": 7}, heads={"parts": {"min_samples": 3}})
    assert (recipe.heads["species"].flip, recipe.heads["parts"].flip) == (0.0, 0.0)  # type: ignore[attr-defined]
    assert recipe.heads["parts"].light == 0.1  # type: ignore[attr-defined]
    assert (recipe.heads["species"].batch_size, recipe.heads["parts"].batch_size) == (7, 2)
    assert (recipe.heads["species"].min_samples, recipe.heads["parts"].min_samples) == (2, 3)


def test_a_recipe_is_written_and_read(tmp_path: Path) -> None:
    recipe = joint("thorough", mix="temperature=2.5", loss_weights={"parts": 0.25}, epochs=4, flip={"parts": 0.25})
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert zoo.recipe(TASKS, str(tmp_path / "recipe.toml")) == recipe
    assert "[heads.parts]" in to_toml(recipe)
    assert to_toml(recipe).count("lr = ") == 1, "settings of the run aren't repeated"


def test_mixtures() -> None:
    assert [joint(mix=mix).temperature for mix in ("proportional", "equal", "temperature=2")] == [1, math.inf, 2]


@pytest.mark.parametrize(
    "mix", ["even", "temperature", "temperature=", "temperature=0", "temperature=-1", "temperature=inf", "temperature=nan"]
)
def test_unknown_mixtures(mix: str) -> None:
    with pytest.raises(InputError, match=rf"the recipe: mix is '{mix}'; expected 'proportional', 'equal', or 'temperature=T' with"):
        joint(mix=mix)


def test_weights_of_losses() -> None:
    assert joint().fixed_weights == joint(loss_weights="uncertainty").fixed_weights == {}
    assert joint(loss_weights="parts=1, species=0.5").fixed_weights == {"parts": 1.0, "species": 0.5}
    with pytest.raises(InputError, match=r"unknown head in loss_weights: 'part'. Nearest: parts"):
        joint(loss_weights="part=1")
    for wrong in ("parts=0", "parts=-1", "parts", "parts=1,parts=2", "parts=nan", "1", "parts=1,"):
        with pytest.raises(InputError, match=rf"loss_weights is '{wrong}'; expected 'uncertainty' or a number above 0 for each head"):
            joint(loss_weights=wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flipp": 1}, "unknown recipe setting of the recipe: 'flipp'. Nearest: flip"),
        ({"flip": {"part": 0}}, "unknown head in the recipe of the recipe: 'part'. Nearest: parts"),
        ({"crop_scale": {"parts": 1.0}}, "unknown recipe setting of the recipe, head parts: 'crop_scale'"),
        ({"heads": {"parts": {"lr": 0.1}}}, "unknown recipe setting of the recipe, head parts: 'lr'"),
        ({"heads": {"part": {}, "parts": {"flip": 2.0}}}, "head parts: flip is 2.0; expected a value in"),
        ({"heads": 3}, "heads is 3; expected a table of settings"),
        ({"heads": {"parts": 3}}, "parts is 3; expected a table of settings"),
        ({"batch_size": {"parts": "4"}}, "head parts: batch_size is '4'; expected a whole number"),
        ({"lr": -1.0}, "the recipe: lr is -1.0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        joint(**settings)


def test_an_unknown_preset() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown recipe \(neither a preset nor a TOML file\): 'slow'"):
        joint("slow")
