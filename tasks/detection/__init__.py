"""Object detection: Faster R-CNN with a feature pyramid on any backbone."""


def register() -> None:
    """Add the task to the registry, which calls this at the first look-up: importing the package alone doesn't import torch."""
    import zoo.tasks.detection.task  # noqa: F401
