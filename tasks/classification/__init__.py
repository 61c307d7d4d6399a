"""Image classification: pooled features, a linear layer, cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset, Sample
from zoo.data.formats import Scheme
from zoo.data.writers import Writer
from zoo.errors import UnknownNameError, check_positive
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.registry import Registry
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.examples import Example
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric, Mistake
from zoo.task.recipe import Recipe
from zoo.tasks.classification.augment import Augment, mix, soften
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.head import ClassificationHead
from zoo.tasks.classification.neighbours import NeighbourHead
from zoo.tasks.classification.predictions import Classification
from zoo.tasks.classification.recipe import RECIPES, ClassificationRecipe
from zoo.tasks.classification.writers import WRITERS

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.answers import AnswerFiles
    from zoo.task.attack import AttackProtocol

Classifier = Literal["linear", "knn"]


@dataclass(frozen=True)
class ClassificationOptions:
    """Options of `zoo.build(…, task="classification")`.

    Attributes:
        image_size: height and width of the input in pixels; None for the trunk's own (224 for most, 32 for the CIFAR ResNets).
        dropout: part of the pooled features that is dropped in training.
        classifier: "linear" for a layer that is trained, "knn" for the nearest of all training pictures, under a frozen trunk.
        neighbours: how many of them vote.
    """

    image_size: int | None = None
    dropout: float = 0.0
    classifier: Classifier = "linear"
    neighbours: int = 20

    def __post_init__(self) -> None:
        """Refuse sizes below 1.

        Raises:
            UnknownNameError: another classifier.
        """
        if self.image_size is not None:
            check_positive("classification", image_size=self.image_size)
        check_positive("classification", neighbours=self.neighbours)
        if self.classifier not in get_args(Classifier):
            raise UnknownNameError("classifier", self.classifier, get_args(Classifier))


@TASKS.register("classification")
class ClassificationTask(Task):
    """One class per picture."""

    name = "classification"
    localises = False
    primary_score = "top1"
    attacks: ClassVar[tuple[str, ...]] = ("fgsm", "pgd", "autoattack")
    sample_data = "demo:digits"
    options = ClassificationOptions
    recipe: ClassVar[type[Recipe]] = ClassificationRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES
    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS

    def preprocess(self, native: Preprocess, options: ClassificationOptions) -> Preprocess:
        """Keep the trunk's own, at another size if one is asked for."""
        return native if options.image_size is None else replace(native, size_hw=(options.image_size, options.image_size))

    def head(self, spec: HeadSpec) -> Head:
        """Build the linear layer, or the memory of the nearest neighbours."""
        if spec.options.classifier == "knn":
            return NeighbourHead(spec.levels[-1].channels, spec.num_classes, spec.options.neighbours)
        return ClassificationHead(spec.levels[-1].channels, spec.num_classes, spec.options.dropout)

    def default_classes(self) -> tuple[str, ...]:
        """Return ImageNet's thousand, as timm builds by default."""
        from zoo.models.weights.imagenet import imagenet_classes  # large tables

        return imagenet_classes()

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return crops, flips, RandAugment and erasing."""
        return Augment(preprocess, recipe)

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Return the batch after mixup or CutMix, with smoothed targets."""
        return mix(recipe, num_classes, images, targets)

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Return smoothed targets."""
        return soften(recipe, num_classes, targets)

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return what the preprocessing needs, of the smallest crop: `crop_scale` of a square's area, three wide and four high."""
        if preprocess.min_size_hw is None or recipe.crop_scale == 1:
            return preprocess.min_size_hw
        height, width = (math.ceil(side / math.sqrt(recipe.crop_scale * 3 / 4)) for side in preprocess.min_size_hw)
        return height, width

    def labels(self, target: Any) -> Sequence[int]:
        """Return the one class."""
        return [int(target)]

    def collate_targets(self, targets: Sequence[Any]) -> Tensor:
        """Return the class indices as [B] int64."""
        return torch.tensor(targets, dtype=torch.int64)

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data counted by the model's classes."""
        return dataset.with_targets(lambda label: new_index[label], classes)

    def split(self, answers: Tensor) -> list[NDArray[np.float32]]:
        """Return one row of logits per picture."""
        return list(answers.float().cpu().numpy())

    def agreement(self, wanted: NDArray[np.float32], got: NDArray[np.float32]) -> tuple[float, float]:
        """Return whether the first class is the same."""
        return float(wanted.argmax() == got.argmax()), 1.0

    def answer_files(self) -> AnswerFiles:
        """Return tables and JSON lines of logits, probabilities or labels; see `prediction_files`."""
        from zoo.tasks.classification.prediction_files import FILES

        return FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]] = ()) -> Combination:
        """Return votes over probabilities."""
        from zoo.tasks.classification.combination import ProbabilityCombination

        return ProbabilityCombination()

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the metric behind top1, top5, precision, recall, f1, ece, auc and the confusion matrix."""
        from zoo.tasks.classification.metrics import ClassificationMetric

        return ClassificationMetric(classes)

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol:
        """Attack every picture, away from its class."""
        from zoo.tasks.classification.attacked import ClassAttack  # rarely needed

        return ClassAttack(dataset, self.metric(dataset, classes, **options), self.metric(dataset, classes, **options))

    def prediction(self, answer: NDArray[np.float32], image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Classification:
        """Turn logits into probabilities."""
        return Classification.from_logits(key, image, answer, classes)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return the most probable class of each picture beside the true one."""
        from zoo.tasks.classification.examples import examples

        return list(examples(answers, targets, keys, classes))[:count]

    def explain(self, model: Model, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return what speaks for the true class, and what for the answered one."""
        from zoo.tasks.classification.gradcam import grad_cam

        words = ("Grad-CAM for the true class", "Grad-CAM for the answer")
        return {said: grad_cam(model, batch, label) for said, label in zip(words, mistake.labels, strict=False)}
