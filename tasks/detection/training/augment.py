"""Augmentation of training images with their boxes and masks: large-scale jitter, flips, light, copy-paste, and multi-scale batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from zoo.data.dataset import Dataset, Sample
from zoo.errors import ImageError
from zoo.images.preprocess import ImageBatch, Preprocess, to_chw
from zoo.tasks.detection.data.outlines import Outlines
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.training.recipe import DetectionRecipe

_LEAST_VISIBLE = 0.1  # minimum visible fraction of an object's area; with less it can't be recognised, and its label would be noise
_MOVED = ("boxes", "area", "annotated")  # target fields with positions or sizes; the other fields don't change when a box moves
_CHANCE = 0.5  # probability of pasting each object; Ghiasi et al. paste "a random subset of objects"
_STEP = 32  # in pixels; like `Preprocess.collate`, use multiples of it, so that the strides of all pyramid levels divide the size


class Augment:
    """Random transformation of a training sample: scale jitter, flips, brightness and contrast, and copy-paste from the dataset."""

    def __init__(self, recipe: DetectionRecipe, preprocess: Preprocess, dataset: Dataset) -> None:
        steps = [v2.RandomHorizontalFlip(recipe.flip)] if recipe.flip > 0 else []
        steps += [v2.RandomVerticalFlip(recipe.flip_vertical)] if recipe.flip_vertical > 0 else []
        steps += [v2.ColorJitter(brightness=recipe.light, contrast=recipe.light)] if recipe.light > 0 else []
        self._transform = v2.Compose([*steps, v2.Identity()])  # an empty Compose isn't valid
        self._jitter = Jitter(preprocess, recipe.jitter_min, recipe.jitter_max)
        self._copy_paste, self._dataset = recipe.copy_paste, dataset
        self._outlines = Outlines.of(dataset) if recipe.copy_paste > 0 else None

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with a transformed image and target. The exact annotated coordinates (`annotated`) are dropped."""
        pastes = self._copy_paste > 0 and float(torch.rand(())) < self._copy_paste
        scene = self._scene(sample, pastes)
        if not pastes:
            return scene.into(sample)
        record = self._dataset.records[int(torch.randint(len(self._dataset), ()))]
        try:
            other = record.load()
        except ImageError:  # the loader reports the error when it loads this image as a sample
            return scene.into(sample)
        return paste(scene, self._scene(other, masked=True)).into(sample)

    def _scene(self, sample: Sample, masked: bool) -> Scene:
        masks = self._outlines.masks(sample.target, sample.image.shape[:2]) if masked and self._outlines is not None else None
        return self._jitter(Scene.of(sample, masks)).changed(self._transform)


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
        return cls(
            tv_tensors.Image(to_chw(sample.image)),
            tv_tensors.BoundingBoxes(torch.from_numpy(target["boxes"]), format="XYXY", canvas_size=sample.image.shape[:2]),
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
        """Remove objects of which less than a tenth is visible. `visible` [N] is the visible fraction of each object's area."""
        stays = visible >= _LEAST_VISIBLE
        return replace(
            self,
            boxes=tv_tensors.BoundingBoxes(self.boxes.as_subclass(Tensor)[stays], format="XYXY", canvas_size=self.size_hw),
            masks=None if self.masks is None else tv_tensors.Mask(self.masks.as_subclass(Tensor)[stays]),
            areas=(self.areas * visible)[stays],
            fields={name: array[stays.numpy()] for name, array in self.fields.items()},
        )


@dataclass(frozen=True)
class Jitter:
    """Large-scale jitter: resize an image by a random factor on a canvas of fixed size (Ghiasi et al. 2021, arXiv 2012.07177, section 3).

    Ghiasi et al. use factors from 0.1 to 2.0, and from 0.8 to 1.25 for their "standard" jitter. The canvas has the size to which
    preprocessing resizes the image, so that the image isn't resized twice. An image larger than the canvas is cropped at a random
    position. A smaller one is placed at a random position, and the rest of the canvas is filled with the mean colour. The result
    corresponds to torchvision's `ScaleJitter` followed by `RandomCrop`, but only the visible region is resized, and only once.
    """

    preprocess: Preprocess
    smallest: float  # minimum scale factor; 1 is the size used in evaluation
    largest: float  # maximum scale factor

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
        whole = _areas(scene.boxes.as_subclass(Tensor)) * enlarged
        visible = _areas(moved.boxes.as_subclass(Tensor)) / whole.clamp(min=1e-6)
        return replace(moved, areas=scene.areas * enlarged).kept(visible.clamp(max=1))


def _areas(boxes: Tensor) -> Tensor:
    """Return the areas [N] of boxes [N, 4] xyxy. Boxes with swapped corners have an area of 0."""
    sides: Tensor = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides.prod(1)


def _place(room: int) -> int:
    """Return a random integer from 0 to `room`, inclusive."""
    return int(torch.randint(room + 1, ()))


def paste(onto: Scene, source: Scene) -> Scene:
    """Paste a random subset of a scene's objects onto another scene (Ghiasi et al. 2021, arXiv 2012.07177, section 3).

    Borders are not blended, because Ghiasi et al. found that blending makes no difference. Crowds and objects without an outline are not
    pasted. If a pasted object covers another one, the box of the covered object shrinks to its visible pixels; the object is removed if
    less than a tenth of it remains visible. Both scenes need masks. The result has the size of `onto` and no masks.
    """
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
    added = {name: array[chosen.numpy()] for name, array in source.fields.items()}
    return replace(
        below,
        boxes=tv_tensors.wrap(torch.cat((below.boxes, _tight(taken))), like=onto.boxes),
        areas=torch.cat((below.areas, taken.sum((1, 2)).float())),
        fields={name: np.concatenate((array, added[name])) for name, array in below.fields.items() if name in added},
    )


def _masks(scene: Scene) -> Tensor:
    assert scene.masks is not None
    masks: Tensor = scene.masks.as_subclass(Tensor)
    return masks


def _remains(scene: Scene, covered: Tensor) -> tuple[Tensor, tv_tensors.BoundingBoxes]:
    """Return the visible fraction of each object, [N], and the boxes around the visible pixels. Objects without a mask are unchanged."""
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
