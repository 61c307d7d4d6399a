"""Training recipe of detectors: settings, defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import InputError
from zoo.task.recipe import Recipe, check_parts

_PARTS = ("flip", "flip_vertical", "light", "copy_paste")
_RANGES = ("scale", "jitter")


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """AdamW with one cosine cycle, flips, and changes of brightness and contrast.

    A batch has two images: twice the steps in the same CPU time.

    Attributes:
        flip: probability of a horizontal flip; set to 0 where left and right differ (digits, text).
        flip_vertical: probability of a vertical flip, for images without a top side, such as microscope or satellite images.
        light: maximum change of brightness and of contrast, as a fraction in either direction.
        scale_min: smallest image size of a batch, as a fraction of the size in evaluation (multi-scale training); below 1, steps are
            also faster.
        scale_max: largest image size of a batch, as a multiple of the size in evaluation.
        jitter_min: smallest size of an image, as a fraction of its canvas (large-scale jitter; 0.1 in the paper).
        jitter_max: largest size of an image, as a multiple of its canvas, which then shows a part of it (2.0 in the paper).
        copy_paste: probability that objects of another image are pasted onto an image; needs data with masks (coco: with segmentation).
        group_aspect: whether batches group wide images with wide ones and tall images with tall ones, for less padding.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "augmentation": (
            "flip",
            "flip_vertical",
            "light",
            "scale_min",
            "scale_max",
            "jitter_min",
            "jitter_max",
            "copy_paste",
            "group_aspect",
        )
    }

    steps: int = 1160
    batch_size: int = 2
    lr: float = 5e-4
    weight_decay: float = 0.05
    clip_grad: float = 5.0
    flip: float = 0.5
    flip_vertical: float = 0.0
    light: float = 0.2
    scale_min: float = 1.0
    scale_max: float = 1.0
    jitter_min: float = 1.0
    jitter_max: float = 1.0
    copy_paste: float = 0.0
    group_aspect: bool = True

    def __post_init__(self) -> None:
        for name in _RANGES:
            least, most = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if not 0.05 <= least <= most <= 8:
                raise InputError(f"recipe: {name}_min is {least} and {name}_max {most}; expected 0.05 to 8, the smaller one first")
        super().__post_init__()
        check_parts("recipe", 0, 1, True, **{name: getattr(self, name) for name in _PARTS})


RECIPES: Mapping[str, DetectionRecipe] = {
    "quick": DetectionRecipe(steps=400, max_epochs=20),
    "standard": DetectionRecipe(),
    "thorough": DetectionRecipe(steps=3000, batch_size=4, max_epochs=300, ema=0.999, jitter_min=0.5, jitter_max=2.0),
}
