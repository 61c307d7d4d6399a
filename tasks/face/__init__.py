"""The face task: embeddings of faces, trained with margin losses and evaluated by verification and identification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.cli.group import Command

if TYPE_CHECKING:
    from zoo.task.flags import TaskFlags

COMMANDS = {
    "faces": Command("align, compare and identify faces: zoo faces verify A.jpg B.jpg", "zoo.tasks.face.commands:run"),
}
SERVICES = {"galleries": "zoo.tasks.face.gallery.service:GalleryService"}


def register() -> None:
    """Add the task to the registry. The registry calls this on first use, so importing this package doesn't import torch."""
    import zoo.tasks.face.task  # noqa: F401


def flags() -> TaskFlags:
    """Return the dataclasses that define the task's command-line flags, without importing torch."""
    from zoo.task.flags import TaskFlags
    from zoo.tasks.face.embedding.options import FaceOptions
    from zoo.tasks.face.training.recipe import RECIPES, FaceRecipe
    from zoo.tasks.face.verification.protocol import FaceScoring

    return TaskFlags("face", FaceOptions, FaceScoring, FaceRecipe, RECIPES)
