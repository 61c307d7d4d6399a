"""The groups of `zoo train --help`: every setting of every task is in one group, with its help and its default."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import pytest

from zoo.cli.flags import combine
from zoo.cli.parsing import parse
from zoo.cli.train import TrainFlags
from zoo.errors import InputError
from zoo.task.contract import TASKS, get_task
from zoo.task.flags import flags_of
from zoo.task.recipe import GROUPS, OTHERS, Recipe, explained, grouped


def help_of(task: str, recipe: Any = None) -> str:
    """Return the help page of `zoo train --task TASK`."""
    kind = flags_of(task)
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # rich draws boxes only if the encoding supports them
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        parse(combine(TrainFlags, kind, kind.recipe() if recipe is None else recipe), "train", ["--help"])
    printed.seek(0)
    return printed.read()


def boxes(printed: str) -> dict[str, str]:
    """Return the text of each box of the help page, by title."""
    found: dict[str, str] = {}
    for title, content in re.findall(r"╭─ (.+?) options ─+╮\n(.*?)╰─", printed, re.DOTALL):
        assert title not in found
        found[title] = " ".join(line.strip("│ ") for line in content.splitlines())
    return found


@pytest.mark.parametrize("task", TASKS.names())
def test_every_setting_is_in_a_named_group_with_its_help_and_its_default(task: str) -> None:
    recipe = get_task(task).data.recipe()
    groups, texts, shown = grouped(type(recipe)), explained(type(recipe)), boxes(help_of(task))
    off = {setting.name: setting.metadata["off"] for setting in fields(recipe) if getattr(recipe, setting.name) is True}
    assert OTHERS not in groups, f"settings without a group: {groups.get(OTHERS)}"
    assert set(groups) <= set(GROUPS)
    assert sorted(name for names in groups.values() for name in names) == sorted(setting.name for setting in fields(recipe))
    for group, names in groups.items():
        assert GROUPS[group] in shown[group]
        for name in names:
            assert texts[name], f"{name} has no help"
            default = getattr(recipe, name)
            flag = f"--{'no-' if default is True else ''}{name.replace('_', '-')}"
            before, _, after = shown[group].partition(off[name] if default is True else texts[name])
            assert f"{flag} " in before
            assert "(default: " not in before.rsplit(f"{flag} ", 1)[1], f"the help of {name} is that of another setting"
            if default is None or isinstance(default, bool):  # described by the text
                assert not after.startswith(" (default: ")
            else:
                assert after.startswith(f" (default: {default})"), f"{name} shows no default"


@dataclass(frozen=True)
class TwistedRecipe(Recipe):
    """A recipe of a third-party task.

    Attributes:
        twist: largest rotation of images,
            in degrees.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"augmentation": ("twist",), "tricks": ("lr",)}

    lr: float = 0.5
    twist: float = 3.0
    loose: int = 1


def test_a_recipe_from_elsewhere_has_groups_of_its_own_and_a_place_for_the_rest() -> None:
    groups = grouped(TwistedRecipe)
    assert "twist" in groups["augmentation"]
    assert groups["tricks"] == ("lr",)
    assert "lr" not in groups["optimisation"]
    assert groups[OTHERS] == ("loose",)
    assert list(groups)[-2:] == ["tricks", OTHERS]
    assert explained(TwistedRecipe)["twist"] == "Largest rotation of images, in degrees."
    assert explained(TwistedRecipe)["lr"] == explained(Recipe)["lr"]
    assert explained(TwistedRecipe)["loose"] == ""
    shown = boxes(help_of("classification", TwistedRecipe()))
    assert "(default: 0.5)" in shown["tricks"]
    assert "--loose INT" in shown["other"]


def test_flags_make_the_recipe_and_keep_the_file_s_values() -> None:
    task = flags_of("classification")
    kind = combine(TrainFlags, task, task.recipe(lr=0.25, epochs=3))
    flags = parse(kind, "train", ["--data", "x", "--batch-size", "8", "--epochs", "None"])
    assert flags.recipe == task.recipe(lr=0.25, batch_size=8)
    with pytest.raises(InputError, match="batch_size is 1; expected 2 or more"):
        _ = parse(kind, "train", ["--data", "x", "--batch-size", "1"]).recipe
