"""Recipes: invalid settings, and TOML round trips."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import InputError, UnknownNameError
from zoo.task.contract import TASKS, get_task
from zoo.task.recipe import Recipe, read_toml, replace_settings, to_toml


@dataclass(frozen=True)
class ShapeRecipe(Recipe):
    """A recipe with fields of all types."""

    mixing: float = 0.5
    rotate: bool = False
    name: str = "plain"


@given(
    epochs=st.none() | st.integers(1, 500),
    batch_size=st.integers(2, 4096),
    lr=st.floats(1e-9, 10),
    ema=st.floats(0, 0.9999),
    rotate=st.booleans(),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    workers=st.none() | st.integers(0, 16),
)
def test_a_recipe_comes_back_from_toml(tmp_path_factory: pytest.TempPathFactory, **values: Any) -> None:
    recipe = ShapeRecipe(**values)
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_bytes(to_toml(recipe).encode())
    assert read_toml(path, ShapeRecipe) == recipe


def test_settings_that_are_none_are_not_in_the_file() -> None:
    assert {"epochs", "workers"}.isdisjoint(tomllib.loads(to_toml(Recipe())))


@pytest.mark.parametrize("task", TASKS.names())
def test_every_task_has_a_recipe_that_comes_back(task: str, tmp_path: Path) -> None:
    kind = get_task(task).data.recipe
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(replace(kind(), epochs=3)))
    assert read_toml(path, kind) == replace(kind(), epochs=3)


def test_an_integer_stands_for_a_float(tmp_path: Path) -> None:
    assert replace_settings(Recipe(), {"lr": 1}, "here").lr == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps is 0; expected a number above 0"),
        ({"batch_size": 0}, "batch_size is 0; expected a number above 0"),
        ({"batch_size": 1}, "batch_size is 1; expected 2 or more, because batch-norm can't train on one image"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": float("inf")}, "lr is inf; expected a finite number"),
        ({"weight_decay": float("nan")}, "weight_decay is nan; expected a finite number"),
        ({"clip_grad": float("nan")}, "clip_grad is nan; expected a finite number"),
        ({"seed": 2**64}, "seed is 18446744073709551616; expected a whole number of up to 64 bits"),
        ({"seed": -(2**63) - 1}, "seed is -9223372036854775809; expected a whole number of up to 64 bits"),
        ({"grad_accumulation": 0}, "grad_accumulation is 0"),
        ({"min_samples": 0}, "min_samples is 0"),
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"warmup": 1.0}, r"warmup is 1.0; expected a value in \[0, 1\)"),
        ({"ema": -0.1}, "ema is -0.1"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; expected 0 or more"),
        ({"clip_grad": -1.0}, "clip_grad is -1.0; expected 0 or more"),
        ({"early_stop": -1}, "early_stop is -1; expected 0 or more"),
        ({"unfreeze_every": -1}, "unfreeze_every is -1; expected 0 or more"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0; expected a factor above 0 and up to 1"),
        ({"balance": "pictures"}, "balance is 'pictures'; expected 'none', 'classes'"),
        ({"on_nan": "go"}, "on_nan is 'go'; expected 'stop', 'skip'"),
        ({"scheduler": "cosin"}, "scheduler is 'cosin'; expected 'cosine', 'tanh', 'poly', 'step', 'constant'"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected 'auto', 'fp32', 'bf16', 'fp16'"),
        ({"workers": -1}, "workers is -1; expected 0 or more"),
    ],
)
def test_settings_that_can_not_work(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": "high"}, "here: lr is 'high'; expected a number, such as 0.001"),
        ({"lr": True}, "here: lr is True; expected a number"),
        ({"batch_size": 3.5}, "here: batch_size is 3.5; expected a whole number, such as 32"),
        ({"batch_size": True}, "here: batch_size is True"),
        ({"rotate": 1}, "here: rotate is 1; expected true or false, such as False"),
        ({"name": 1}, "here: name is 1; expected a string, such as 'plain'"),
        ({"epochs": "many"}, "here: epochs is 'many'; expected a whole number"),
        ({"epochs": 2.5}, "here: epochs is 2.5; expected a whole number"),
        ({"workers": True}, "here: workers is True; expected a whole number"),
    ],
)
def test_values_of_another_type(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace_settings(ShapeRecipe(), values, "here")


def test_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("learning_rat = 1\nlr = 0.1\n")
    with pytest.raises(UnknownNameError, match=r"recipe setting of .*mine\.toml: 'learning_rat'"):
        read_toml(path, Recipe)


@pytest.mark.parametrize("content", [b"lr = ", b"\xff\xfe", None])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"recipe .*mine\.toml can't be read as TOML \(.+\)$"):
        read_toml(path, Recipe)
