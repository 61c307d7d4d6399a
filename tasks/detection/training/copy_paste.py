"""Copy-paste: objects of one picture laid over another, by their masks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2 import functional as tvf

from zoo.tasks.detection.data.scene import Scene, joined

_CHANCE = 0.5  # that an object is pasted: Ghiasi et al. paste "a random subset of objects"


def paste(onto: Scene, source: Scene) -> Scene:
    """Lay a random part of a scene's objects over another scene (Ghiasi et al. 2021, arXiv 2012.07177, section 3).

    Borders are not blended, which the paper found to make no difference. Crowds, and objects without an outline, are not pasted. What
    is covered gets the box of what remains of it, or vanishes with its last tenth.

    Args:
        onto: the scene that stays; its masks are needed.
        source: the scene that objects are taken from, likewise.

    Returns:
        A scene of the size of `onto`, without masks.
    """
    assert onto.masks is not None
    assert source.masks is not None
    height, width = onto.size_hw
    source = source.changed(lambda parts: {name: tvf.crop(part, 0, 0, height, width) for name, part in parts.items()})
    masks = _masks(source)
    chosen = (torch.rand(len(masks)) < _CHANCE) & masks.flatten(1).any(1) & ~torch.from_numpy(source.fields["iscrowd"])
    if not chosen.any():
        return replace(onto, masks=None)
    taken = masks[chosen]
    covered = taken.any(0)
    visible, boxes = _remains(onto, covered)
    below = replace(onto, image=tv_tensors.Image(torch.where(covered, source.image, onto.image)), boxes=boxes, masks=None).kept(visible)
    return replace(
        below,
        boxes=tv_tensors.wrap(torch.cat((below.boxes, _tight(taken))), like=onto.boxes),
        areas=torch.cat((below.areas, taken.sum((1, 2)).float())),
        fields=joined(below.fields, {name: array[chosen.numpy()] for name, array in source.fields.items()}),
    )


def _masks(scene: Scene) -> Tensor:
    assert scene.masks is not None
    masks: Tensor = scene.masks.as_subclass(Tensor)
    return masks


def _remains(scene: Scene, covered: Tensor) -> tuple[Tensor, tv_tensors.BoundingBoxes]:
    """Return which part of each object is not covered [N], and the boxes of these parts; without a mask an object stays as it is."""
    before = _masks(scene)
    after = before & ~covered
    pixels, left = before.sum((1, 2)), after.sum((1, 2))
    visible = torch.where(pixels > 0, left / pixels.clamp(min=1), 1.0)
    boxes = scene.boxes.as_subclass(Tensor).clone()
    cut = (left < pixels) & (left > 0)
    if cut.any():
        boxes[cut] = _tight(after[cut])
    return visible, tv_tensors.wrap(boxes, like=scene.boxes)


def _tight(masks: Tensor) -> Tensor:
    """Return the boxes [N, 4] xyxy around masks: their right and lower sides are the far sides of the last pixels."""
    boxes: Tensor = masks_to_boxes(masks)
    return boxes + torch.tensor([0, 0, 1, 1])
