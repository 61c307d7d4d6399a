"""Augmentation of training images: crop, flip, RandAugment and erasing for each image, mixup and CutMix for each batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from zoo.data.dataset import Sample
from zoo.images.preprocess import ImageBatch, Preprocess, as_float, to_chw
from zoo.tasks.classification.options import ClassificationRecipe


class Augment:
    """Random resized crop to the model's size, horizontal flip, RandAugment and random erasing.

    Sources: Szegedy et al. 2014, arXiv 1409.4842 (crop); Cubuk et al. 2019, arXiv 1909.13719; Zhong et al. 2017, arXiv 1708.04896. The crop
    has the model's input size. With the "crop" policy, preprocessing then enlarges it by 1 / crop_pct and keeps only its centre.
    """

    def __init__(self, preprocess: Preprocess, recipe: ClassificationRecipe) -> None:
        fill = [round(255 * part) for part in preprocess.mean]  # 0 after normalisation
        steps: list[Callable[[Tensor], Tensor]] = []
        if recipe.crop_scale < 1:
            interpolation = v2.InterpolationMode(preprocess.interpolation)
            # the policy "fit", which a detector's other heads share, has no shape; a square has the scale of the shorter side
            size_hw = (min(preprocess.size_hw),) * 2 if preprocess.policy == "fit" else preprocess.size_hw
            steps.append(v2.RandomResizedCrop(size_hw, (recipe.crop_scale, 1.0), interpolation=interpolation, antialias=True))
        if recipe.flip > 0:
            steps.append(v2.RandomHorizontalFlip(recipe.flip))
        if recipe.randaugment:
            steps.append(v2.RandAugment(num_ops=2, magnitude=recipe.randaugment, fill=fill))
        if recipe.erasing > 0:
            steps.append(v2.RandomErasing(recipe.erasing, value=fill))
        self._transform = v2.Compose(steps) if steps else v2.Identity()

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with a transformed image. The class doesn't change."""
        image: Tensor = self._transform(to_chw(sample.image))
        return replace(sample, image=image.permute(1, 2, 0).contiguous().numpy())


def mix(recipe: ClassificationRecipe, num_classes: int, images: ImageBatch, targets: Tensor) -> tuple[ImageBatch, Tensor]:
    """Apply mixup or CutMix to a batch with targets [B] int64, or [B, K] float with NaN for unknown labels, which remain unknown.

    If both mixup (Zhang et al. 2017, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899) are enabled, one of them is chosen at
    random for each batch. The targets become probabilities [B, K], unless mixup and CutMix are both off.
    """
    ways = [way(alpha=alpha, num_classes=num_classes) for way, alpha in ((v2.MixUp, recipe.mixup), (v2.CutMix, recipe.cutmix)) if alpha > 0]
    if ways:
        way = ways[int(torch.randint(len(ways), ()))]
        pixels, targets = way(as_float(images.pixels), targets)
        images = replace(images, pixels=pixels)
    return images, targets


def soften(recipe: ClassificationRecipe, num_classes: int, targets: Tensor) -> Tensor:
    """Apply label smoothing to targets, [B] int64 or probabilities [B, K]. Targets don't change if it is off."""
    share = recipe.label_smoothing
    if not share:
        return targets
    sure = targets if targets.ndim == 2 else F.one_hot(targets, num_classes).float()
    return (1 - share) * sure + share / num_classes
