"""The classification task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Sample
from zoo.data.formats import Scheme
from zoo.data.writers import Writer
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.registry import Registry
from zoo.task.answers import Answers
from zoo.task.building import Building
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.data import TaskData
from zoo.task.examples import Example
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric, Mistake
from zoo.task.recipe import Recipe
from zoo.task.scoring import Scoring
from zoo.tasks.classification.augment import Augment, mix, soften
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.head import ClassificationHead
from zoo.tasks.classification.neighbours import NeighbourHead
from zoo.tasks.classification.options import ClassificationOptions
from zoo.tasks.classification.predictions import Classification, examples
from zoo.tasks.classification.recipe import RECIPES, ClassificationRecipe
from zoo.tasks.classification.writers import WRITERS

if TYPE_CHECKING:
    from zoo.task.answer_files import AnswerFiles
    from zoo.task.attack import AttackProtocol
    from zoo.task.model import TaskModel


class ClassificationBuilding(Building):
    """Pooled features and a linear layer, or nearest neighbours."""

    options = ClassificationOptions

    def preprocess(self, native: Preprocess, options: ClassificationOptions) -> Preprocess:
        """Return the backbone's own preprocessing, at `image_size` if it is set."""
        return native if options.image_size is None else replace(native, size_hw=(options.image_size, options.image_size))

    def head(self, spec: HeadSpec) -> Head:
        """Create the linear layer, or the store of nearest neighbours."""
        if spec.options.classifier == "knn":
            return NeighbourHead(spec.levels[-1].channels, spec.num_classes, spec.options.neighbours)
        return ClassificationHead(spec.levels[-1].channels, spec.num_classes, spec.options.dropout)

    def default_classes(self) -> tuple[str, ...]:
        """Return the 1000 classes of ImageNet, timm's default."""
        from zoo.models.weights.imagenet import imagenet_classes  # large tables

        return imagenet_classes()


class ClassificationData(TaskData):
    """One class index per image."""

    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS
    sample_data = "demo:digits"
    recipe: ClassVar[type[Recipe]] = ClassificationRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES

    def labels(self, target: Any) -> Sequence[int]:
        """Return the one class."""
        return [int(target)]

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with class indices of the model."""
        return dataset.with_targets(lambda label: new_index[label], classes)

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return random crops, flips, RandAugment and erasing."""
        return Augment(preprocess, recipe)

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return the size at which the smallest crop (`crop_scale` of a square's area, aspect ratio 3:4) still fills the input."""
        if preprocess.min_size_hw is None or recipe.crop_scale == 1:
            return preprocess.min_size_hw
        height, width = (math.ceil(side / math.sqrt(recipe.crop_scale * 3 / 4)) for side in preprocess.min_size_hw)
        return height, width

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Apply mixup or CutMix and label smoothing."""
        return mix(recipe, num_classes, images, targets)

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Apply label smoothing."""
        return soften(recipe, num_classes, targets)


class ClassificationAnswers(Answers):
    """Logits [K] per image."""

    localises = False

    def agreement(self, wanted: NDArray[np.float32], got: NDArray[np.float32]) -> tuple[float, float]:
        """Compare the most probable class."""
        return float(wanted.argmax() == got.argmax()), 1.0

    def prediction(self, answer: NDArray[np.float32], image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Classification:
        """Return class probabilities."""
        return Classification.from_logits(key, image, answer, classes)

    def files(self) -> AnswerFiles | None:
        """Return tables and JSON lines of logits, probabilities or labels; see `prediction_files`."""
        from zoo.tasks.classification.prediction_files import FILES

        return FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return voting over probabilities."""
        from zoo.tasks.classification.combination import ProbabilityCombination

        return ProbabilityCombination()

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return the most probable class of each image next to the true one."""
        return list(examples(answers, targets, keys, classes))[:count]

    def explain(self, model: TaskModel, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return Grad-CAM maps for the true and for the predicted class."""
        from zoo.tasks.classification.gradcam import grad_cam

        captions = ("Grad-CAM for the true class", "Grad-CAM for the answer")
        return {caption: grad_cam(model, batch, label) for caption, label in zip(captions, mistake.labels, strict=False)}


class ClassificationScoring(Scoring):
    """Accuracy, precision, recall, F1, calibration, AUC."""

    primary_score = "top1"
    attacks: ClassVar[tuple[str, ...]] = ("fgsm", "pgd", "autoattack")

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the metric of top1, top5, precision, recall, f1, ece, auc and the confusion matrix."""
        from zoo.tasks.classification.metrics import ClassificationMetric

        return ClassificationMetric(classes)

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol | None:
        """Attack every image, away from its class."""
        from zoo.tasks.classification.attacked import ClassAttack  # rarely needed

        return ClassAttack(dataset, self.metric(dataset, classes, **options), self.metric(dataset, classes, **options))


CLASSIFICATION = Task("classification", ClassificationBuilding(), ClassificationData(), ClassificationAnswers(), ClassificationScoring())
TASKS.add("classification", CLASSIFICATION)
