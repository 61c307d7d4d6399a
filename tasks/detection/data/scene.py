"""Training image with its boxes and optional masks, in a form that torchvision's transforms change together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from zoo.data.dataset import Sample
from zoo.images.preprocess import to_chw
from zoo.tasks.detection.data.targets import Target, as_target

_LEAST_VISIBLE = 0.1  # minimum visible fraction of an object's area; with less it can't be recognised, and its label would be noise
_MOVED = ("boxes", "area", "annotated")  # target fields with positions or sizes; the other fields don't change when a box moves


@dataclass(frozen=True)
class Scene:
    """Training image and its objects during augmentation."""

    image: tv_tensors.Image  # [3, H, W] uint8
    boxes: tv_tensors.BoundingBoxes  # [N, 4] float32, xyxy in pixels of `image`
    masks: tv_tensors.Mask | None  # [N, H, W] bool, empty for an object without an outline; None if masks aren't needed
    areas: Tensor  # [N] float32, in square pixels of `image`
    fields: Target  # other target fields by name, with one entry per box

    @classmethod
    def of(cls, sample: Sample, masks: Tensor | None = None) -> Scene:
        """Create a scene from a sample and the masks of its objects, [N, H, W] bool."""
        target = as_target(sample.target, sample.key)
        size_hw = (sample.image.shape[0], sample.image.shape[1])
        return cls(
            tv_tensors.Image(to_chw(sample.image)),
            tv_tensors.BoundingBoxes(torch.from_numpy(target["boxes"]), format="XYXY", canvas_size=size_hw),
            None if masks is None else tv_tensors.Mask(masks),
            torch.from_numpy(target["area"]),
            {name: array for name, array in target.items() if name not in _MOVED},
        )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[-2], self.image.shape[-1]

    def into(self, sample: Sample) -> Sample:
        """Return a copy of the sample with the image and target of this scene."""
        pixels = self.image.as_subclass(Tensor).permute(1, 2, 0).contiguous().numpy()
        boxes = self.boxes.as_subclass(Tensor).numpy()
        return replace(sample, image=pixels, target={"boxes": boxes, "area": self.areas.numpy(), **self.fields})

    def changed(self, change: Callable[[Any], Any]) -> Scene:
        """Apply a transform of torchvision's v2 API to the image, boxes and masks. The transform must keep every box."""
        parts = {"image": self.image, "boxes": self.boxes} | ({} if self.masks is None else {"masks": self.masks})
        moved = change(parts)
        return replace(self, image=moved["image"], boxes=moved["boxes"], masks=moved.get("masks"))

    def kept(self, visible: Tensor) -> Scene:
        """Remove objects of which less than a tenth is visible.

        `visible` is the visible fraction of each object's area, [N], 0–1.
        """
        stays = visible >= _LEAST_VISIBLE
        size_hw = self.size_hw
        return replace(
            self,
            boxes=tv_tensors.BoundingBoxes(self.boxes.as_subclass(Tensor)[stays], format="XYXY", canvas_size=size_hw),
            masks=None if self.masks is None else tv_tensors.Mask(self.masks.as_subclass(Tensor)[stays]),
            areas=(self.areas * visible)[stays],
            fields={name: array[stays.numpy()] for name, array in self.fields.items()},
        )


def box_areas(boxes: Tensor) -> Tensor:
    """Return the areas [N] of boxes [N, 4] xyxy. Boxes with swapped corners have an area of 0."""
    sides: Tensor = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides.prod(1)


def joined(one: Target, other: Target) -> Target:
    """Concatenate two targets field by field. Fields that only one of them has are dropped."""
    return {name: np.concatenate((array, other[name])) for name, array in one.items() if name in other}
