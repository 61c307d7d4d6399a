"""Test-time augmentation: the same picture prepared in several ways, each of which a model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.images.preprocess import ImageBatch, Preprocess


@dataclass(frozen=True)
class View:
    """One way to look at a picture.

    Attributes:
        preprocess: the model's own, perhaps at another size.
        mirror: whether the prepared picture is mirrored left to right.
    """

    preprocess: Preprocess
    mirror: bool = False


def views_of(preprocess: Preprocess, tta: Sequence[str], scales: Sequence[float], stride: int) -> tuple[View, ...]:
    """Return the views of a picture, the plain one first.

    Args:
        preprocess: the model's own.
        tta: of "flip" (each size also mirrored) and "scales".
        scales: sizes, as parts of the model's own.
        stride: of the trunk's deepest level: sizes are rounded to a multiple of it. Pictures of the policy "fit" are padded to one
            anyway, so that theirs are whole pixels alone.
    """
    step = 1 if preprocess.pads else stride
    others = [_scaled(preprocess, scale, step) for scale in scales if scale != 1] if "scales" in tta else []
    sizes = dict.fromkeys([preprocess, *others])  # small inputs may be rounded to the same size twice
    return tuple(View(size, mirror) for size in sizes for mirror in ((False, True) if "flip" in tta else (False,)))


def _scaled(preprocess: Preprocess, scale: float, step: int) -> Preprocess:
    height, width = (max(1, round(side * scale / step)) * step for side in preprocess.size_hw)
    return replace(preprocess, size_hw=(height, width))


def mirrored(batch: ImageBatch) -> ImageBatch:
    """Return the pictures mirrored left to right, each within its own size: the padding stays at the right and bottom."""
    pixels = batch.pixels.clone()
    for row, (height, width) in zip(pixels, batch.sizes_hw, strict=True):
        row[:, :height, :width] = row[:, :height, :width].flip(2)
    return ImageBatch(pixels, batch.sizes_hw, batch.original_sizes_hw)
