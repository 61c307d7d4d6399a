"""A picture with its boxes, and its masks where there are any, that torchvision's transforms move together."""

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

_LEAST_VISIBLE = 0.1  # of an object's area; what shows less of it can't be told, and as a label it would be noise
_MOVED = ("boxes", "area", "annotated")  # fields that hold places or sizes; the others are true wherever the box goes


@dataclass(frozen=True)
class Scene:
    """What a training picture shows, while it is changed.

    Attributes:
        image: [3, H, W] uint8.
        boxes: [N, 4] float32 xyxy in pixels of `image`.
        masks: [N, H, W] bool, the objects' pixels; empty for an object without an outline. None where nobody asked for them.
        areas: [N] float32, square pixels of `image`.
        fields: what else is known of each box, by name; one entry per box.
    """

    image: tv_tensors.Image
    boxes: tv_tensors.BoundingBoxes
    masks: tv_tensors.Mask | None
    areas: Tensor
    fields: Target

    @classmethod
    def of(cls, sample: Sample, masks: Tensor | None = None) -> Scene:
        """Take up a sample.

        Args:
            sample: of a detection data set.
            masks: [N, H, W] bool of its boxes.

        Raises:
            InputError: the target is none, or doesn't fit together.
        """
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
        """Return the sample with this picture and these boxes."""
        pixels = self.image.as_subclass(Tensor).permute(1, 2, 0).contiguous().numpy()
        boxes = self.boxes.as_subclass(Tensor).numpy()
        return replace(sample, image=pixels, target={"boxes": boxes, "area": self.areas.numpy(), **self.fields})

    def changed(self, change: Callable[[Any], Any]) -> Scene:
        """Return the scene after a transform of torchvision's v2, which must keep every box."""
        parts = {"image": self.image, "boxes": self.boxes} | ({} if self.masks is None else {"masks": self.masks})
        moved = change(parts)
        return replace(self, image=moved["image"], boxes=moved["boxes"], masks=moved.get("masks"))

    def kept(self, visible: Tensor) -> Scene:
        """Leave out the objects of which too little is to be seen.

        Args:
            visible: [N], the part of each object's area that is still there, 0–1.
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
    """Return the areas [N] of boxes [N, 4] xyxy, nought for those that are turned inside out."""
    sides: Tensor = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides.prod(1)


def joined(one: Target, other: Target) -> Target:
    """Return the fields of two lists of boxes as those of one; what only one of them knows is left out."""
    return {name: np.concatenate((array, other[name])) for name, array in one.items() if name in other}
