"""Test-time augmentation: the model predicts on several views of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.images.preprocess import ImageBatch, Preprocess


@dataclass(frozen=True)
class View:
    """Definition of a view of an image.

    Attributes:
        preprocess: the model's preprocessing, possibly with another image size.
        mirror: whether the preprocessed image is flipped horizontally.
    """

    preprocess: Preprocess
    mirror: bool = False


def views_of(preprocess: Preprocess, tta: Sequence[str], scales: Sequence[float], stride: int) -> tuple[View, ...]:
    """Return the views for test-time augmentation, starting with the unmodified one.

    Args:
        preprocess: the model's preprocessing.
        tta: names of augmentations. "flip" adds a flipped view for each size, and "scales" adds other sizes.
        scales: input sizes for "scales", as factors of the model's input size.
        stride: stride of the backbone's deepest level, in pixels. Sizes are rounded to multiples of it. With the resize policy "fit",
            they are rounded to whole pixels, because images are padded to a multiple of the stride.
    """
    step = 1 if preprocess.pads else stride
    others = [_scaled(preprocess, scale, step) for scale in scales if scale != 1] if "scales" in tta else []
    sizes = dict.fromkeys([preprocess, *others])  # remove duplicates: several scales of a small input may be rounded to the same size
    return tuple(View(size, mirror) for size in sizes for mirror in ((False, True) if "flip" in tta else (False,)))


def _scaled(preprocess: Preprocess, scale: float, step: int) -> Preprocess:
    height, width = (max(1, round(side * scale / step)) * step for side in preprocess.size_hw)
    return replace(preprocess, size_hw=(height, width))


def mirrored(batch: ImageBatch) -> ImageBatch:
    """Flip each image of a batch horizontally within its unpadded size. The padding stays at the right and bottom."""
    pixels = batch.pixels.clone()
    for row, (height, width) in zip(pixels, batch.sizes_hw, strict=True):
        row[:, :height, :width] = row[:, :height, :width].flip(2)
    return ImageBatch(pixels, batch.sizes_hw, batch.original_sizes_hw)
