"""Test-time augmentation: several views of the same image, each of which the model answers for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.images.preprocess import ImageBatch, Preprocess


@dataclass(frozen=True)
class View:
    """A view of an image.

    Attributes:
        preprocess: the model's preprocessing, possibly at another size.
        mirror: whether the preprocessed image is flipped horizontally.
    """

    preprocess: Preprocess
    mirror: bool = False


def views_of(preprocess: Preprocess, tta: Sequence[str], scales: Sequence[float], stride: int) -> tuple[View, ...]:
    """Return the views of an image, the unmodified one first.

    Args:
        preprocess: the model's preprocessing.
        tta: augmentations: "flip" (every size also flipped), "scales", or both.
        scales: input sizes, as factors of the model's input size.
        stride: stride of the backbone's deepest level. Sizes are rounded to multiples of it; images of the policy "fit" are padded to
            a multiple anyway, so their sizes are only rounded to whole pixels.
    """
    step = 1 if preprocess.pads else stride
    others = [_scaled(preprocess, scale, step) for scale in scales if scale != 1] if "scales" in tta else []
    sizes = dict.fromkeys([preprocess, *others])  # without duplicates: several scales of a small input may round to the same size
    return tuple(View(size, mirror) for size in sizes for mirror in ((False, True) if "flip" in tta else (False,)))


def _scaled(preprocess: Preprocess, scale: float, step: int) -> Preprocess:
    height, width = (max(1, round(side * scale / step)) * step for side in preprocess.size_hw)
    return replace(preprocess, size_hw=(height, width))


def mirrored(batch: ImageBatch) -> ImageBatch:
    """Return the images flipped horizontally, each within its unpadded size: the padding stays at the right and bottom."""
    pixels = batch.pixels.clone()
    for row, (height, width) in zip(pixels, batch.sizes_hw, strict=True):
        row[:, :height, :width] = row[:, :height, :width].flip(2)
    return ImageBatch(pixels, batch.sizes_hw, batch.original_sizes_hw)
