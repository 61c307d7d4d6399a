"""Object detection: Faster R-CNN with a feature pyramid on any backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.task.flags import TaskFlags


def register() -> None:
    """Register the task. The registry calls this function at the first look-up, so that importing the package doesn't import torch."""
    import zoo.tasks.detection.task  # noqa: F401


def flags() -> TaskFlags:
    """Return the dataclasses that define the task's command-line flags, without importing torch."""
    from zoo.task.flags import TaskFlags
    from zoo.tasks.detection.options import DetectionOptions, DetectionScoring
    from zoo.tasks.detection.training.recipe import RECIPES, DetectionRecipe

    return TaskFlags("detection", DetectionOptions, DetectionScoring, DetectionRecipe, RECIPES)
