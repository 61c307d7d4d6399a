"""Multi-scale training: a random size for every batch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torchvision.transforms.v2 import functional as tvf

from zoo.images.preprocess import ImageBatch

_STEP = 32  # pixels; `Preprocess.collate` pads to multiples of it, so that every pyramid level divides evenly


def rescaled(batch: ImageBatch, smallest: float, largest: float) -> ImageBatch:
    """Scale a batch by a random factor (Redmon and Farhadi 2016, arXiv 1612.08242, section 2: a new size every few batches).

    Unlike a size per image, a size per batch adds no padding: with a factor below 1, the cost of a step falls with its square. Targets
    are in pixels of the original images and don't change.

    Args:
        batch: prepared images.
        smallest: smallest factor.
        largest: largest factor.

    Returns:
        The batch, with sides that are multiples of 32 pixels.
    """
    factor = smallest + (largest - smallest) * float(torch.rand(()))
    height, width = batch.pixels.shape[-2:]
    new_h, new_w = (max(_STEP, round(side * factor / _STEP) * _STEP) for side in (height, width))
    if (new_h, new_w) == (height, width):
        return batch
    pixels = tvf.resize(batch.pixels, [new_h, new_w], antialias=True)
    sizes = tuple((max(1, round(h * new_h / height)), max(1, round(w * new_w / width))) for h, w in batch.sizes_hw)
    return replace(batch, pixels=pixels, sizes_hw=sizes)
