"""Prediction for batches of images. Apart from rounding, the prediction for an image doesn't depend on the other images of its batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.task.head import AnyImages


@contextmanager
def evaluation_mode(*models: Model) -> Iterator[None]:
    """Set evaluation mode in the body, and restore each model's mode afterwards."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def answers(model: Model, images: AnyImages) -> list[Any]:
    """Return the predictions of a model in evaluation mode for a batch, one per image.

    Images of the same padded size are computed together. If portrait and landscape photos were padded to squares, this would nearly double
    the computation, and values near the edge of a photo would depend on the padding there.
    """
    task = model.definition
    if not isinstance(images, ImageBatch):
        return task.answers.split(model(images))
    found: dict[int, Any] = {}
    # a compiled model receives single images: engines prepare for every new batch shape, which takes longer than a prediction
    for places, part in images.alike(1 if model.compiled else None):
        found.update(zip(places, task.answers.split(model(part)), strict=True))
    return [found[place] for place in range(len(images))]
