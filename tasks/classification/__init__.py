"""Image classification: pooled features, a linear layer, cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.task.flags import TaskFlags


def register() -> None:
    """Add the task to the registry, which calls this at the first look-up: importing the package alone doesn't import torch."""
    import zoo.tasks.classification.task  # noqa: F401


def flags() -> TaskFlags:
    """Return the dataclasses behind the task's flags, without importing torch."""
    from zoo.task.flags import TaskFlags
    from zoo.task.scoring import NoScoring
    from zoo.tasks.classification.options import ClassificationOptions
    from zoo.tasks.classification.recipe import RECIPES, ClassificationRecipe

    return TaskFlags("classification", ClassificationOptions, NoScoring, ClassificationRecipe, RECIPES)
