"""How a classifier is trained unless one says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import InputError
from zoo.task.recipe import Recipe, check_parts


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """AdamW, one cosine, random crops and flips.

    Attributes:
        crop_scale: smallest part of a picture's area that a random crop keeps; 1 for no crops.
        flip: chance of a horizontal mirror image; 0 where left and right differ (digits, text).
        randaugment: strength of two random changes per picture (RandAugment), 1 to 30, 9 being usual; 0 for none.
        erasing: chance that a random rectangle of a picture is blotted out.
        mixup: how far pictures of a batch are mixed in pairs (alpha of a beta distribution), 0.2 to 1; 0 for none.
        cutmix: likewise, for rectangles pasted from one picture into another; with mixup, each batch gets one of them.
        label_smoothing: share of the target spread over all classes.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "augmentation": ("crop_scale", "flip", "randaugment", "erasing", "mixup", "cutmix"),
        "regularisation": ("label_smoothing",),
    }

    steps: int = 2000
    max_epochs: int = 60
    batch_size: int = 32
    min_samples: int = 2
    lr: float = 1e-3
    crop_scale: float = 0.35
    flip: float = 0.5
    randaugment: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        super().__post_init__()
        check_parts("recipe", 0, 1, True, crop_scale=self.crop_scale, flip=self.flip, erasing=self.erasing)
        check_parts("recipe", 0, 1, False, label_smoothing=self.label_smoothing)
        if self.crop_scale == 0:
            raise InputError("recipe: crop_scale is 0; expected a part above 0 and up to 1")
        if not 0 <= self.randaugment <= 30:
            raise InputError(f"recipe: randaugment is {self.randaugment}; expected a strength from 0 to 30")
        if self.mixup < 0 or self.cutmix < 0:
            raise InputError(f"recipe: mixup is {self.mixup} and cutmix {self.cutmix}; expected 0 or more")


RECIPES: Mapping[str, ClassificationRecipe] = {
    "quick": ClassificationRecipe(steps=400, max_epochs=20),
    "standard": ClassificationRecipe(),
    "thorough": ClassificationRecipe(steps=8000, max_epochs=300, randaugment=9, mixup=0.2, label_smoothing=0.1, ema=0.999),
}
