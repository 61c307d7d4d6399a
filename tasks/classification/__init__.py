"""Image classification: pooled features, a linear layer, cross-entropy."""


def register() -> None:
    """Add the task to the registry, which calls this at the first look-up: importing the package alone doesn't import torch."""
    import zoo.tasks.classification.task  # noqa: F401
