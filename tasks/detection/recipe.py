"""The default training of detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.recipe import Recipe, check_parts


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """AdamW, one cosine; mirror images and changes of light.

    Attributes:
        flip: chance of a horizontal mirror image; 0 where left and right differ (digits, text).
        light: largest change of brightness, and of contrast, as a part of it, either way.
    """

    steps: int = 580
    batch_size: int = 4
    lr: float = 5e-4
    weight_decay: float = 0.05
    clip_grad: float = 5.0
    flip: float = 0.5
    light: float = 0.2

    def __post_init__(self) -> None:
        """Refuse parts outside 0–1."""
        super().__post_init__()
        check_parts("recipe", 0, 1, True, flip=self.flip, light=self.light)


RECIPES: Mapping[str, DetectionRecipe] = {
    "quick": DetectionRecipe(steps=200),
    "standard": DetectionRecipe(),
    "thorough": DetectionRecipe(steps=3000, ema=0.999),
}
