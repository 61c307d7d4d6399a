"""Large-scale jitter: images enlarged or shrunk on a canvas of the training size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from zoo.images.preprocess import Preprocess
from zoo.tasks.detection.data.scene import Scene, box_areas


@dataclass(frozen=True)
class Jitter:
    """Large-scale jitter (Ghiasi et al. 2021, arXiv 2012.07177, section 3: 0.1–2.0; 0.8–1.25 is their "standard" one).

    The canvas has the size to which the preprocessing scales the image, so that nothing is scaled twice. An image larger than the
    canvas is cropped at a random position; a smaller one is placed at a random position on the mean colour. The result is that of
    torchvision's `ScaleJitter` followed by `RandomCrop`, but only the visible part is scaled, and only once.

    Attributes:
        preprocess: preprocessing of the model.
        smallest: smallest scale; 1 is the size in evaluation.
        largest: largest scale.
    """

    preprocess: Preprocess
    smallest: float = 1.0
    largest: float = 1.0

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

        def onto_canvas(part: Any) -> Any:
            shown = tvf.resize(
                tvf.crop(part, top, left, window_h, window_w),
                [shown_h, shown_w],
                interpolation=v2.InterpolationMode(self.preprocess.interpolation),
                antialias=self.preprocess.antialias,
            )
            return tvf.pad(shown, padding, fill=self._mean if isinstance(part, tv_tensors.Image) else 0)

        moved = scene.changed(lambda parts: {name: onto_canvas(part) for name, part in parts.items()})
        enlarged = (shown_h / window_h) * (shown_w / window_w)
        whole = box_areas(scene.boxes.as_subclass(Tensor)) * enlarged
        visible = box_areas(moved.boxes.as_subclass(Tensor)) / whole.clamp(min=1e-6)
        return replace(moved, areas=scene.areas * enlarged).kept(visible.clamp(max=1))

    @property
    def _mean(self) -> list[float]:
        return [round(255 * value) for value in self.preprocess.mean]


def _place(room: int) -> int:
    """Return a random integer from 0 to `room`, inclusive."""
    return int(torch.randint(room + 1, ()))
