"""Random image sizes in training: large-scale jitter of single images, and multi-scale training with a random size per batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.tasks.detection.data.scene import Scene, box_areas

_STEP = 32  # in pixels; like `Preprocess.collate`, use multiples of it, so that the strides of all pyramid levels divide the size


@dataclass(frozen=True)
class Jitter:
    """Large-scale jitter: resize an image by a random factor on a canvas of fixed size (Ghiasi et al. 2021, arXiv 2012.07177, section 3).

    Ghiasi et al. use factors from 0.1 to 2.0, and from 0.8 to 1.25 for their "standard" jitter. The canvas has the size to which
    preprocessing resizes the image, so that the image isn't resized twice. An image larger than the canvas is cropped at a random
    position. A smaller one is placed at a random position, and the rest of the canvas is filled with the mean colour. The result
    corresponds to torchvision's `ScaleJitter` followed by `RandomCrop`, but only the visible region is resized, and only once.
    """

    preprocess: Preprocess
    smallest: float = 1.0  # minimum scale factor; 1 is the size used in evaluation
    largest: float = 1.0  # maximum scale factor

    def __call__(self, scene: Scene) -> Scene:
        """Return the scene on its canvas, without objects of which less than a tenth is visible."""
        scale = self.smallest + (self.largest - self.smallest) * float(torch.rand(()))
        height, width = scene.size_hw
        canvas_h, canvas_w = self.preprocess.resized_hw(height, width)
        window_h, window_w = (max(1, min(side, round(side / scale))) for side in (height, width))
        shown_h, shown_w = (max(1, min(side, round(side * scale))) for side in (canvas_h, canvas_w))
        top, left = _place(height - window_h), _place(width - window_w)
        above, before = _place(canvas_h - shown_h), _place(canvas_w - shown_w)
        padding = [before, above, canvas_w - shown_w - before, canvas_h - shown_h - above]

        mean = [round(255 * value) for value in self.preprocess.mean]

        def onto_canvas(part: Any) -> Any:
            shown = tvf.resize(
                tvf.crop(part, top, left, window_h, window_w),
                [shown_h, shown_w],
                interpolation=v2.InterpolationMode(self.preprocess.interpolation),
                antialias=self.preprocess.antialias,
            )
            return tvf.pad(shown, padding, fill=mean if isinstance(part, tv_tensors.Image) else 0)

        moved = scene.changed(lambda parts: {name: onto_canvas(part) for name, part in parts.items()})
        enlarged = (shown_h / window_h) * (shown_w / window_w)
        whole = box_areas(scene.boxes.as_subclass(Tensor)) * enlarged
        visible = box_areas(moved.boxes.as_subclass(Tensor)) / whole.clamp(min=1e-6)
        return replace(moved, areas=scene.areas * enlarged).kept(visible.clamp(max=1))


def _place(room: int) -> int:
    """Return a random integer from 0 to `room`, inclusive."""
    return int(torch.randint(room + 1, ()))


def rescaled(batch: ImageBatch, smallest: float, largest: float) -> ImageBatch:
    """Resize a batch by a random factor from `smallest` to `largest` (multi-scale training).

    Redmon and Farhadi 2016 (arXiv 1612.08242, section 2) choose a new size every few batches. A common size for all images of a batch
    adds no padding, and a factor below 1 reduces the cost of a step by its square. The sides of the result are multiples of 32 pixels.
    Targets don't change, because they are in pixels of the original images.
    """
    factor = smallest + (largest - smallest) * float(torch.rand(()))
    height, width = batch.pixels.shape[-2:]
    new_h, new_w = (max(_STEP, round(side * factor / _STEP) * _STEP) for side in (height, width))
    if (new_h, new_w) == (height, width):
        return batch
    pixels = tvf.resize(batch.pixels, [new_h, new_w], antialias=True)
    sizes = tuple((max(1, round(h * new_h / height)), max(1, round(w * new_w / width))) for h, w in batch.sizes_hw)
    return replace(batch, pixels=pixels, sizes_hw=sizes)
