"""Object detection: Faster R-CNN with a feature pyramid on any trunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset, Sample
from zoo.data.formats import Scheme
from zoo.data.sampling import Sampling
from zoo.data.writers import Writer
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.registry import Registry
from zoo.task.answers import AnswerFiles
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.examples import Example
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric
from zoo.task.recipe import Recipe
from zoo.tasks.detection.data.numbers import NumberedDataset
from zoo.tasks.detection.data.targets import relabelled
from zoo.tasks.detection.datasets import SCHEMES
from zoo.tasks.detection.metric.scoring import DetectionScoring
from zoo.tasks.detection.model.head import FasterRCNNHead
from zoo.tasks.detection.model.options import SMALL_INPUT, DetectionOptions
from zoo.tasks.detection.prediction.detections import Detections
from zoo.tasks.detection.training.augment import Augment
from zoo.tasks.detection.training.grouping import AspectGrouped, are_tall
from zoo.tasks.detection.training.multi_scale import rescaled
from zoo.tasks.detection.training.recipe import RECIPES, DetectionRecipe
from zoo.tasks.detection.writers import WRITERS


@TASKS.register("detection")
class DetectionTask(Task):
    """Boxes with classes and scores."""

    name = "detection"
    min_levels = 2
    primary_score = "AP"
    sample_data = "demo:scenes"
    options = DetectionOptions
    recipe: ClassVar[type[Recipe]] = DetectionRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES
    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS
    scoring = DetectionScoring

    def parse_options(self, values: Mapping[str, Any]) -> DetectionOptions:
        """Build the options, and settle what they leave open, so that a saved model names every number it was built from."""
        options: DetectionOptions = super().parse_options(values)
        return options.settled()

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the size of anchors: boxes were learned as offsets from them."""
        return ["anchor_scale"] if "anchor_scale" in made_with else []

    def preprocess(self, native: Preprocess, options: DetectionOptions) -> Preprocess:
        """Scale by torchvision's rule for detectors, keeping the aspect ratio; with the trunk's own mean and deviation.

        torchvision's own models were trained without antialiasing at 800 pixels, and keep to that at any size; small inputs, which
        are mostly shrunk, need it.
        """
        assert options.image_size is not None
        assert options.max_image_size is not None
        return replace(
            native,
            policy="fit",
            size_hw=(options.image_size, options.max_image_size),
            interpolation="bilinear",
            antialias=native.antialias if native.policy == "fit" else options.image_size <= SMALL_INPUT,
        )

    def head(self, spec: HeadSpec) -> Head:
        """Build pyramid, proposals and box head."""
        return FasterRCNNHead(spec)

    def default_classes(self) -> tuple[str, ...]:
        """Return COCO's, as torchvision's detectors count them: ids 1 to 90 are classes 0 to 89."""
        from zoo.models.weights.torchvision_detection import coco_classes

        return coco_classes()

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return mirror images, changes of light and of scale, and objects of other pictures."""
        return Augment(recipe, preprocess, dataset)

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Give the batch a size of its own."""
        return rescaled(images, recipe.scale_min, recipe.scale_max), targets

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return batches of pictures of one orientation, where the recipe asks for no other and the data has two."""
        if recipe.group_aspect and recipe.balance == "none":
            tall = are_tall(dataset)
            if any(tall) and not all(tall):
                return AspectGrouped(tall, batch_size, smallest)
        return super().sampling(recipe, dataset, batch_size, smallest)

    def labels(self, target: Any) -> Sequence[int]:
        """Return the classes of the boxes."""
        return [int(label) for label in target["labels"]]

    def collate_targets(self, targets: Sequence[Any]) -> list[dict[str, Tensor]]:
        """Return the arrays of each picture as tensors."""
        return [{name: torch.as_tensor(array) for name, array in target.items()} for target in targets]

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with its labels counted by the model's classes."""
        return dataset.with_targets(lambda target: relabelled(target, new_index), classes)

    def split(self, answers: Sequence[Mapping[str, Tensor]]) -> list[dict[str, NDArray[Any]]]:
        """Return boxes, scores and labels per picture."""
        return [{name: answer[name].detach().cpu().numpy() for name in ("boxes", "scores", "labels")} for answer in answers]

    def agreement(self, wanted: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
        """Return how many of the boxes that both are sure of are the same."""
        from zoo.tasks.detection.prediction.agreement import agreement

        return agreement(wanted, got)

    def combination(self, metadata: Sequence[Mapping[str, Any]] = ()) -> Combination:
        """Return weighted boxes fusion."""
        from zoo.tasks.detection.prediction.combination import BoxCombination

        return BoxCombination()

    def answer_files(self) -> AnswerFiles:
        """Return COCO results; see `prediction_files`."""
        from zoo.tasks.detection.prediction.files import FILES

        return FILES

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the twelve COCO numbers, and what the errors cost."""
        from zoo.tasks.detection.metric.metric import CocoMetric

        order = dataset.order if isinstance(dataset, NumberedDataset) else None
        return CocoMetric(classes, DetectionScoring(**options), order)

    def prediction(self, answer: Mapping[str, NDArray[Any]], image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Detections:
        """Put the boxes beside the picture."""
        return Detections(key, image, answer["boxes"], answer["scores"], answer["labels"], classes)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return what was found in each picture beside what is there."""
        from zoo.tasks.detection.prediction.examples import examples

        return list(examples(answers, targets, keys, classes))[:count]
