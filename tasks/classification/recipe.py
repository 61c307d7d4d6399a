"""How a classifier is trained unless one says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import InputError
from zoo.recipe import Recipe


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """AdamW, one cosine, random crops and flips.

    Attributes:
        crop_scale: smallest part of a picture's area that a random crop keeps; 1 for no crops.
        flip: chance of a horizontal mirror image; 0 where left and right differ (digits, text).
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"augmentation": ("crop_scale", "flip")}

    steps: int = 2000
    batch_size: int = 32
    lr: float = 1e-3
    crop_scale: float = 0.35
    flip: float = 0.5

    def __post_init__(self) -> None:
        """Refuse parts outside 0–1."""
        super().__post_init__()
        if not 0 < self.crop_scale <= 1 or not 0 <= self.flip <= 1:
            raise InputError(f"recipe: crop_scale is {self.crop_scale} and flip {self.flip}; expected parts up to 1")
