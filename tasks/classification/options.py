"""Options of classification: those of building a model, and training recipes with their presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from zoo.errors import InputError, UnknownNameError, check_positive
from zoo.task.operating import check_threshold
from zoo.task.recipe import Recipe, check_parts

Classifier = Literal["linear", "knn"]


@dataclass(frozen=True)
class ClassificationOptions:
    """Options of `zoo.build(…, task="classification")`.

    Attributes:
        image_size: height and width of the input in pixels; by default that of the backbone (32 for CIFAR ResNets, 224 for most others).
        dropout: dropout rate, in [0, 1), applied to the pooled features during training.
        classifier: "linear" for a trained linear layer, or "knn" for a vote among the nearest training images, with a frozen backbone.
        neighbours: number of nearest neighbours used by the "knn" classifier.
        multi_label: whether an image may have any number of classes: each class is then an independent decision.
    """

    image_size: int | None = None
    dropout: float = 0.0
    classifier: Classifier = "linear"
    neighbours: int = 20
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.image_size is not None:
            check_positive("classification", image_size=self.image_size)
        check_positive("classification", neighbours=self.neighbours)
        if self.classifier not in get_args(Classifier):
            raise UnknownNameError("classifier", self.classifier, get_args(Classifier))
        if self.multi_label and self.classifier == "knn":
            raise InputError("classification: classifier is 'knn', which predicts one class per image; multi_label needs 'linear'")


@dataclass(frozen=True)
class ThresholdScoring:
    """Scoring options of classification.

    Attributes:
        threshold: probability above which classes are predicted, in place of the model's operating point (zoo tune): for multi-label models
            and models with two classes. AP and AUC don't depend on it.
    """

    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_threshold(self.threshold, "classification: threshold")


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """Training settings of classifiers. The defaults are AdamW with one cosine cycle, random crops and flips.

    Attributes:
        crop_scale: minimum area of a random crop, as a fraction of the image; 1 disables cropping.
        flip: probability of a horizontal flip; set to 0 where left and right differ (digits, text).
        randaugment: magnitude of RandAugment, which applies two random operations per image: 1 to 30, usually 9; 0 disables it.
        erasing: probability of erasing a random rectangle of an image.
        mixup: alpha of mixup, which blends pairs of images with weights from Beta(alpha, alpha): usually 0.2 to 1; 0 disables it.
        cutmix: alpha of CutMix, which pastes a rectangle of one image into another, with area fractions from Beta(alpha, alpha): usually
            0.2 to 1; 0 disables it. If mixup is enabled too, one of the two is applied to each batch.
        label_smoothing: fraction of the target probability that is spread evenly over all classes.
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
        super().__post_init__()
        check_parts("recipe", 0, 1, True, crop_scale=self.crop_scale, flip=self.flip, erasing=self.erasing)
        check_parts("recipe", 0, 1, False, label_smoothing=self.label_smoothing)
        if self.crop_scale == 0:
            raise InputError("recipe: crop_scale is 0; expected a fraction above 0 and up to 1")
        if not 0 <= self.randaugment <= 30:
            raise InputError(f"recipe: randaugment is {self.randaugment}; expected a magnitude from 0 to 30")
        if self.mixup < 0 or self.cutmix < 0:
            raise InputError(f"recipe: mixup is {self.mixup} and cutmix {self.cutmix}; expected 0 or more")


RECIPES: Mapping[str, ClassificationRecipe] = {
    "quick": ClassificationRecipe(steps=400, max_epochs=20),
    "standard": ClassificationRecipe(),
    "thorough": ClassificationRecipe(steps=8000, max_epochs=300, randaugment=9, mixup=0.2, label_smoothing=0.1, ema=0.999),
}
