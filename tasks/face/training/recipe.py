"""The default training of face embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import InputError
from zoo.task.recipe import Recipe, check_parts


@dataclass(frozen=True)
class FaceRecipe(Recipe):
    """AdamW, one cosine; mirror images, small movements and changes of light.

    Attributes:
        flip: chance of a horizontal mirror image.
        rotation: largest turn in the picture's plane, in degrees, either way.
        shift: largest movement, as a part of the picture's size, either way.
        zoom: largest change of size, as a part of it, either way.
        light: largest change of brightness, and of contrast, as a part of it, either way.
        pictures_per_identity: K of batches that hold P identities × K pictures, P being as many as `batch_size` has room for; 0 for
            plain shuffling. None for what the model's loss needs: 0 for ArcFace and CosFace, 4 for triplets.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "augmentation": ("flip", "rotation", "shift", "zoom", "light"),
        "sampling": ("pictures_per_identity",),
    }

    steps: int = 600
    batch_size: int = 32
    lr: float = 1e-3
    flip: float = 0.5
    rotation: float = 10.0
    shift: float = 0.06
    zoom: float = 0.1
    light: float = 0.3
    pictures_per_identity: int | None = None

    def __post_init__(self) -> None:
        """Refuse changes that leave no face, and batches that show no one twice.

        Raises:
            InputError: naming the setting and its value.
        """
        super().__post_init__()
        check_parts("recipe", 0, 1, True, flip=self.flip, light=self.light)
        check_parts("recipe", 0, 0.5, True, shift=self.shift, zoom=self.zoom)
        if not 0 <= self.rotation <= 180:
            raise InputError(f"recipe: rotation is {self.rotation}; expected degrees from 0 to 180")
        pictures = self.pictures_per_identity
        if pictures is not None and (pictures < 0 or pictures == 1):
            raise InputError(f"recipe: pictures_per_identity is {pictures}; expected 0 (plain shuffling), or 2 or more")


RECIPES: Mapping[str, FaceRecipe] = {
    "quick": FaceRecipe(steps=200, max_epochs=20),
    "standard": FaceRecipe(),
    "thorough": FaceRecipe(steps=20_000, max_epochs=300, ema=0.999),
}
