"""The default training of face embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.errors import InputError
from zoo.recipe import Recipe, check_parts


@dataclass(frozen=True)
class FaceRecipe(Recipe):
    """AdamW, one cosine; mirror images, small movements and changes of light.

    Attributes:
        flip: chance of a horizontal mirror image.
        rotation: largest turn in the picture's plane, in degrees, either way.
        shift: largest movement, as a part of the picture's size, either way.
        zoom: largest change of size, as a part of it, either way.
        light: largest change of brightness, and of contrast, as a part of it, either way.
    """

    steps: int = 600
    batch_size: int = 32
    lr: float = 1e-3
    flip: float = 0.5
    rotation: float = 10.0
    shift: float = 0.06
    zoom: float = 0.1
    light: float = 0.3

    def __post_init__(self) -> None:
        """Refuse changes that leave no face."""
        super().__post_init__()
        check_parts("recipe", 0, 1, True, flip=self.flip, light=self.light)
        check_parts("recipe", 0, 0.5, True, shift=self.shift, zoom=self.zoom)
        if not 0 <= self.rotation <= 180:
            raise InputError(f"recipe: rotation is {self.rotation}; expected degrees from 0 to 180")


RECIPES: Mapping[str, FaceRecipe] = {
    "quick": FaceRecipe(steps=200),
    "standard": FaceRecipe(),
    "thorough": FaceRecipe(steps=3000, ema=0.999),
}
