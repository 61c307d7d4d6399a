"""Prediction for batches of images. Apart from rounding, the prediction for an image doesn't depend on the other images of its batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Return the predictions of a model with one head in evaluation mode for a batch, one per image; see `head_answers`."""
    (name,) = model.config.heads
    return head_answers(model, images, (name,))[name]


def head_answers(model: Model, images: AnyImages, heads: Sequence[str]) -> dict[str, list[Any]]:
    """Return the predictions of heads of one pass, by head name, for a batch: one per image. The model is in evaluation mode.

    Images of the same padded size are computed together. If portrait and landscape photos were padded to squares, this would nearly double
    the computation, and values near the edge of a photo would depend on the padding there.
    """
    if not isinstance(images, ImageBatch):
        return _split(model, images, heads)
    found: dict[str, dict[int, Any]] = {name: {} for name in heads}
    # a compiled model receives single images: engines prepare for every new batch shape, which takes longer than a prediction
    for places, part in images.alike(1 if model.compiled else None):
        for name, several in _split(model, part, heads).items():
            found[name].update(zip(places, several, strict=True))
    return {name: [by_place[place] for place in range(len(images))] for name, by_place in found.items()}


def _split(model: Model, images: AnyImages, heads: Sequence[str]) -> dict[str, list[Any]]:
    given = model(images, tasks=heads) if model.is_joint else dict.fromkeys(heads, model(images))
    return {name: model.config.heads[name].definition.answers.split(given[name]) for name in heads}
