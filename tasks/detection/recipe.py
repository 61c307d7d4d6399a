"""The default training of detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import InputError
from zoo.recipe import Recipe


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """AdamW, one cosine; mirror images and changes of light.

    Attributes:
        flip: chance of a horizontal mirror image; 0 where left and right differ (digits, text).
        light: largest change of brightness, and of contrast, as a part of it, either way.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"augmentation": ("flip", "light")}

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
        for name in ("flip", "light"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"recipe: {name} is {getattr(self, name)}; expected a part from 0 to 1")
