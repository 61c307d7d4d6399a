"""Random sizes in training: large-scale jitter of each image on a canvas of the training size, and multi-scale batches."""

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

_STEP = 32  # pixels; `Preprocess.collate` pads to multiples of it, so that every pyramid level divides evenly


@dataclass(frozen=True)
class Jitter:
    """Large-scale jitter (Ghiasi et al. 2021, arXiv 2012.07177, section 3: 0.1–2.0; 0.8–1.25 is their "standard" one).

    The canvas has the size to which the preprocessing scales the image, so that nothing is scaled twice. An image larger than the
    canvas is cropped at a random position; a smaller one is placed at a random position on the mean colour. The result is that of
    torchvision's `ScaleJitter` followed by `RandomCrop`, but only the visible part is scaled, and only once.
    """

    preprocess: Preprocess
    smallest: float = 1.0  # smallest scale; 1 is the size in evaluation
    largest: float = 1.0  # largest scale

    def __call__(self, scene: Scene) -> Scene:
        """Return the scene on its canvas, without objects that are hardly visible."""
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
    """Scale a batch by a random factor (Redmon and Farhadi 2016, arXiv 1612.08242, section 2: a new size every few batches).

    Unlike a size per image, a size per batch adds no padding: with a factor below 1, the cost of a step falls with its square. Targets
    are in pixels of the original images and don't change. The sides of the result are multiples of 32 pixels.
    """
    factor = smallest + (largest - smallest) * float(torch.rand(()))
    height, width = batch.pixels.shape[-2:]
    new_h, new_w = (max(_STEP, round(side * factor / _STEP) * _STEP) for side in (height, width))
    if (new_h, new_w) == (height, width):
        return batch
    pixels = tvf.resize(batch.pixels, [new_h, new_w], antialias=True)
    sizes = tuple((max(1, round(h * new_h / height)), max(1, round(w * new_w / width))) for h, w in batch.sizes_hw)
    return replace(batch, pixels=pixels, sizes_hw=sizes)
