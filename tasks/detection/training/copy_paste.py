"""Copy-paste augmentation: objects are cut out of one image by their masks and pasted onto another."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2 import functional as tvf

from zoo.tasks.detection.data.scene import Scene, joined

_CHANCE = 0.5  # probability of pasting each object; Ghiasi et al. paste "a random subset of objects"


def paste(onto: Scene, source: Scene) -> Scene:
    """Paste a random subset of a scene's objects onto another scene (Ghiasi et al. 2021, arXiv 2012.07177, section 3).

    Borders are not blended, because Ghiasi et al. found that blending makes no difference. Crowds and objects without an outline are not
    pasted. If a pasted object covers another one, the box of the covered object shrinks to its visible pixels; the object is removed if
    less than a tenth of it remains visible. Both scenes need masks. The result has the size of `onto` and no masks.
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
    """Return the visible fraction of each object, [N], and the boxes around the visible pixels.

    Objects without a mask count as fully visible and keep their boxes.
    """
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
    """Return the tight boxes around masks, [N, 4] xyxy. Right and bottom are the outer edges of the last pixels."""
    boxes: Tensor = masks_to_boxes(masks)
    return boxes + torch.tensor([0, 0, 1, 1])
