"""What a training picture goes through before preprocessing: a random crop and a mirror."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor
from torchvision.transforms import v2

from zoo.data import Sample
from zoo.preprocess import Preprocess, to_chw


class Augment:
    """Random resized crop to the model's size (Szegedy et al. 2014, arXiv 1409.4842) and horizontal flip.

    The crop has the size that the preprocessing asks for. Under the "crop" policy that still scales by 1 / crop_pct, so the
    picture is made larger by as much, and the preprocessing cuts the middle out of it.
    """

    def __init__(self, preprocess: Preprocess, crop_scale: float, flip: float) -> None:
        """Set up the transforms.

        Args:
            preprocess: the model's.
            crop_scale: smallest part of the area that is kept; 1 for the whole picture.
            flip: chance of a mirror image.
        """
        steps: list[Callable[[Tensor], Tensor]] = []
        if crop_scale < 1:
            steps.append(
                v2.RandomResizedCrop(
                    preprocess.size_hw,
                    scale=(crop_scale, 1.0),
                    interpolation=v2.InterpolationMode(preprocess.interpolation),
                    antialias=True,
                )
            )
        if flip > 0:
            steps.append(v2.RandomHorizontalFlip(flip))
        self._transform = v2.Compose(steps) if steps else v2.Identity()

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with its picture changed; the class stays."""
        image: Tensor = self._transform(to_chw(sample.image))
        return replace(sample, image=image.permute(1, 2, 0).contiguous().numpy())
