"""What a training picture goes through before preprocessing: a mirror, which the boxes follow, and other light."""

from __future__ import annotations

from dataclasses import replace

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from zoo.data import Sample
from zoo.preprocess import to_chw
from zoo.tasks.detection.recipe import DetectionRecipe
from zoo.tasks.detection.targets import as_target


class Augment:
    """Mirror a picture and its boxes, and change brightness and contrast; the picture keeps its size."""

    def __init__(self, recipe: DetectionRecipe) -> None:
        """Set up the transforms from the recipe."""
        steps: list[torch.nn.Module] = []
        if recipe.flip > 0:
            steps.append(v2.RandomHorizontalFlip(recipe.flip))
        if recipe.light > 0:
            steps.append(v2.ColorJitter(brightness=recipe.light, contrast=recipe.light))
        self._transform = v2.Compose(steps) if steps else v2.Identity()

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with its picture and boxes changed; what else is known of the boxes stays, but for their old places."""
        target = as_target(sample.target, sample.key)
        target.pop("annotated", None)
        height, width = sample.image.shape[:2]
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(target["boxes"]),
            format="XYXY",
            canvas_size=(height, width),
        )
        image, moved = self._transform(tv_tensors.Image(to_chw(sample.image)), boxes)
        pixels = image.as_subclass(torch.Tensor).permute(1, 2, 0).contiguous().numpy()
        return replace(sample, image=pixels, target={**target, "boxes": moved.as_subclass(torch.Tensor).numpy()})
