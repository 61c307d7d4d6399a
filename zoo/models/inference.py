"""Predictions for batches of images, independent (up to rounding) of the other images in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.task.contract import get_task
from zoo.task.pooling import AnyImages


@contextmanager
def evaluation_mode(*models: Model) -> Iterator[None]:
    """Set evaluation mode, and restore each model's mode at the end."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def answers(model: Model, images: AnyImages) -> list[Any]:
    """Return the predictions of a model for a batch, computed for the images of one padded size at a time.

    A batch of portrait and landscape photos is padded to squares. That is nearly twice the work, and the values near the edge of a photo
    would depend on whether it is padded there. The model must be in evaluation mode.
    """
    task = get_task(model.task)
    if not isinstance(images, ImageBatch):
        return task.answers.split(model(images))
    found: dict[int, Any] = {}
    # an engine prepares for every new batch shape, which takes longer than one prediction: a compiled model gets images one by one
    for places, part in images.alike(1 if model.compiled else None):
        found.update(zip(places, task.answers.split(model(part)), strict=True))
    return [found[place] for place in range(len(images))]
