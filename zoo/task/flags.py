"""Dataclasses that define a task's command-line flags. They can be loaded without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from zoo.task.recipe import Recipe


@dataclass(frozen=True)
class TaskFlags:
    """Dataclasses whose fields define the flags of a task: build options, scoring options, and training settings with their presets."""

    name: str
    options: type[Any]
    scoring: type[Any]
    recipe: type[Recipe]
    recipes: Mapping[str, Recipe]


def flags_of(task: str) -> TaskFlags:
    """Return the flag definitions of a task; an unknown task raises an `UnknownNameError`.

    A built-in task package may define a function `flags()`. It returns the definitions without importing torch, because `--help` must be
    fast. For all other tasks, the definitions are taken from the `Task` object.
    """
    name = f"zoo.tasks.{task}"
    if task.isidentifier() and find_spec(name) is not None:
        declared = getattr(import_module(name), "flags", None)
        if declared is not None:
            found: TaskFlags = declared()
            return found
    from zoo.task.contract import get_task

    known = get_task(task)
    return TaskFlags(known.name, known.building.options, known.scoring.options, known.data.recipe, known.data.recipes)
