"""Image classification: a linear layer on pooled features, trained with cross-entropy, or nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.task.flags import TaskFlags


def register() -> None:
    """Register the task. The registry calls this function at the first look-up, so that importing the package doesn't import torch."""
    import zoo.tasks.classification.task  # noqa: F401


def flags() -> TaskFlags:
    """Return the dataclasses that define the task's command-line flags, without importing torch."""
    from zoo.task.flags import TaskFlags
    from zoo.tasks.classification.options import RECIPES, ClassificationOptions, ClassificationRecipe, ThresholdScoring

    return TaskFlags("classification", ClassificationOptions, ThresholdScoring, ClassificationRecipe, RECIPES)
