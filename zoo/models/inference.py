"""Predictions for batches of images, independent (up to rounding) of the other images in the batch."""

from __future__ import annotations

from typing import Any

from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.task.contract import get_task
from zoo.task.pooling import AnyImages


def answers(model: Model, images: AnyImages) -> list[Any]:
    """Let a model answer for a batch, pictures of one padded size at a time.

    A batch of upright and lying photos is padded to squares: nearly twice the work, and what is computed near the edge of a photo would
    depend on whether there is padding beside it.

    Args:
        model: in evaluation mode.
        images: pictures, or features of them.

    Returns:
        One answer per picture, as `Answers.split` has them, in the order of the batch.
    """
    task = get_task(model.task)
    if not isinstance(images, ImageBatch):
        return task.answers.split(model(images))
    found: dict[int, Any] = {}
    # an engine prepares for every new batch shape, which takes longer than one prediction: a compiled model gets images one by one
    for places, part in images.alike(1 if model.compiled else None):
        found.update(zip(places, task.answers.split(model(part)), strict=True))
    return [found[place] for place in range(len(images))]
