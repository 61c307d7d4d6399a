"""Face embedding. The task is in `task`, and imported at the first look-up: a gallery is listed without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.tasks.face.task import FaceTask

__all__ = ["FaceTask"]


def register() -> None:
    """Add the task to the registry, which calls this at the first look-up."""
    import zoo.tasks.face.task  # noqa: F401


def __getattr__(name: str) -> Any:
    """Import the task when it is first used."""
    if name != "FaceTask":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zoo.tasks.face.task import FaceTask

    return FaceTask
