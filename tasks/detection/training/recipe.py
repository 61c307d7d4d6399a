"""Training recipes of detectors: settings, defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from zoo.errors import InputError
from zoo.task.recipe import Recipe, check_parts


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """Training settings of detectors. The defaults are AdamW with one cosine cycle, flips, and changes of brightness and contrast.

    The default batch size is 2, because twice as many steps with half the images take the same time on a CPU.

    Attributes:
        flip: probability of a horizontal flip; set to 0 where left and right differ (digits, text).
        flip_vertical: probability of a vertical flip, for images with no natural orientation, such as microscope or satellite images.
        light: maximum random change in brightness and contrast, as a fraction.
        scale_min: multi-scale training: smallest image size of a batch, relative to the evaluation size. Smaller values also speed up
            training.
        scale_max: multi-scale training: largest image size of a batch, relative to the evaluation size.
        jitter_min: large-scale jitter (Ghiasi et al. 2021): smallest resize factor relative to the output size; 0.1 in the paper.
        jitter_max: large-scale jitter (Ghiasi et al. 2021): largest resize factor relative to the output size; 2.0 in the paper. Above 1,
            the image is cropped.
        copy_paste: probability of pasting objects from another image. Requires data with masks (coco: with segmentation).
        group_aspect: group images of similar aspect ratio into batches, which reduces padding.
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
    group_aspect: bool = field(
        default=True, metadata={"off": "Don't group images of similar aspect ratio into batches (grouping reduces padding)."}
    )

    def __post_init__(self) -> None:
        for name in ("scale", "jitter"):
            least, most = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if not 0.05 <= least <= most <= 8:
                raise InputError(f"recipe: {name}_min is {least} and {name}_max {most}; expected 0.05 to 8, the smaller one first")
        super().__post_init__()
        check_parts("recipe", 0, 1, True, flip=self.flip, flip_vertical=self.flip_vertical, light=self.light, copy_paste=self.copy_paste)


RECIPES: Mapping[str, DetectionRecipe] = {
    "quick": DetectionRecipe(steps=400, max_epochs=20),
    "standard": DetectionRecipe(),
    "thorough": DetectionRecipe(steps=3000, batch_size=4, max_epochs=300, ema=0.999, jitter_min=0.5, jitter_max=2.0),
}
