"""Training recipes of face models: settings, defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import InputError
from zoo.task.recipe import Recipe, check_parts


@dataclass(frozen=True)
class FaceRecipe(Recipe):
    """Training settings of face models.

    The defaults are AdamW with one cosine cycle, horizontal flips, small affine transforms, and changes of brightness and contrast.

    Attributes:
        flip: probability of a horizontal flip.
        rotation: maximum rotation in degrees, in either direction.
        shift: maximum shift as a fraction of the image size, in either direction.
        zoom: maximum relative change in face size, in either direction.
        light: maximum random change in brightness and contrast, as a fraction.
        pictures_per_identity: images per identity in a batch (P identities × K images, P as large as --batch-size allows); 0 disables
            grouping by identity. By default 4 for triplet, 0 for ArcFace and CosFace.
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
        super().__post_init__()
        check_parts("recipe", 0, 1, True, flip=self.flip, light=self.light)
        check_parts("recipe", 0, 0.5, True, shift=self.shift, zoom=self.zoom)
        if not 0 <= self.rotation <= 180:
            raise InputError(f"recipe: rotation is {self.rotation}; expected 0 to 180 degrees")
        pictures = self.pictures_per_identity
        if pictures is not None and (pictures < 0 or pictures == 1):
            raise InputError(f"recipe: pictures_per_identity is {pictures}; expected 0 (plain shuffling), or 2 or more")


RECIPES: Mapping[str, FaceRecipe] = {
    "quick": FaceRecipe(steps=200, max_epochs=20),
    "standard": FaceRecipe(),
    "thorough": FaceRecipe(steps=20_000, max_epochs=300, ema=0.999),
}
