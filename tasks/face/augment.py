"""What a training face goes through before preprocessing: small movements, a mirror, and other light."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from zoo.data import Sample
from zoo.preprocess import to_chw
from zoo.tasks.face.recipe import FaceRecipe


class Augment:
    """Turn, move and scale a face a little, mirror it, change brightness and contrast; the picture keeps its size.

    Borders are continued before the movement, so that no black wedges appear, which would be the same for everyone.
    """

    def __init__(self, recipe: FaceRecipe) -> None:
        """Set up the transforms from the recipe's ranges."""
        self._border = recipe.shift + recipe.zoom / 2 + recipe.rotation / 180
        self._move = v2.RandomAffine(
            recipe.rotation,
            (recipe.shift, recipe.shift),
            (1 - recipe.zoom, 1 + recipe.zoom),
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        self._recolour = v2.Compose([v2.RandomHorizontalFlip(recipe.flip), v2.ColorJitter(recipe.light, recipe.light)])

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with its picture changed; the identity stays."""
        image = to_chw(sample.image)
        height, width = image.shape[-2:]
        border = round(self._border * max(height, width))
        moved = tvf.center_crop(self._move(tvf.pad(image, [border] * 4, padding_mode="edge")), [height, width])
        changed: Tensor = self._recolour(moved)
        return replace(sample, image=changed.permute(1, 2, 0).contiguous().numpy())
