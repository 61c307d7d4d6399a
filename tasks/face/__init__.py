"""Face embedding: pooled features, a linear layer, unit length; margin losses in training, verification in evaluation."""


def register() -> None:
    """Add the task to the registry, which calls this at the first look-up: importing the package alone doesn't import torch."""
    import zoo.tasks.face.task  # noqa: F401
