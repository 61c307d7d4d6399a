"""Face embedding: pooled features, a linear layer, unit length; margin losses in training, verification in evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.cli.group import Command

if TYPE_CHECKING:
    from zoo.task.flags import TaskFlags

COMMANDS = {
    "faces": Command("align, compare and identify faces: zoo faces verify A.jpg B.jpg", "zoo.tasks.face.commands.group:run"),
}


def register() -> None:
    """Add the task to the registry, which calls this at the first look-up: importing the package alone doesn't import torch."""
    import zoo.tasks.face.task  # noqa: F401


def flags() -> TaskFlags:
    """Return the dataclasses behind the task's flags, without importing torch."""
    from zoo.task.flags import TaskFlags
    from zoo.tasks.face.embedding.options import FaceOptions
    from zoo.tasks.face.training.recipe import RECIPES, FaceRecipe
    from zoo.tasks.face.verification.protocol import FaceScoring

    return TaskFlags("face", FaceOptions, FaceScoring, FaceRecipe, RECIPES)
