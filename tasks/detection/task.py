"""The detection task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

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
from zoo.task.answers import Answers
from zoo.task.building import Building
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.data import TaskData
from zoo.task.examples import Example
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric
from zoo.task.recipe import Recipe
from zoo.task.scoring import Scoring
from zoo.tasks.detection.data.numbers import NumberedDataset
from zoo.tasks.detection.data.targets import relabelled
from zoo.tasks.detection.datasets import SCHEMES
from zoo.tasks.detection.metric.scoring import DetectionScoring as ScoringOptions
from zoo.tasks.detection.model.head import FasterRCNNHead
from zoo.tasks.detection.model.options import SMALL_INPUT, DetectionOptions
from zoo.tasks.detection.prediction.detections import Detections, agreement
from zoo.tasks.detection.training.augment import Augment
from zoo.tasks.detection.training.grouping import AspectGrouped, are_tall
from zoo.tasks.detection.training.jitter import rescaled
from zoo.tasks.detection.training.recipe import RECIPES, DetectionRecipe
from zoo.tasks.detection.writers import WRITERS

if TYPE_CHECKING:
    from zoo.task.answer_files import AnswerFiles


class DetectionBuilding(Building):
    """Faster R-CNN with a feature pyramid on any backbone."""

    options = DetectionOptions
    min_levels = 2

    def settle(self, options: DetectionOptions) -> DetectionOptions:
        """Fill in the sizes and anchors that follow from other options."""
        return options.settled()

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the anchor scale: box offsets are learned relative to the anchors."""
        return ["anchor_scale"] if "anchor_scale" in made_with else []

    def preprocess(self, native: Preprocess, options: DetectionOptions) -> Preprocess:
        """Resize by torchvision's rule for detectors, keeping the aspect ratio, with the backbone's own mean and deviation.

        torchvision's own models were trained without antialiasing at 800 pixels and keep that at any size; small inputs, which are
        mostly downscaled, need antialiasing.
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
        """Create the feature pyramid, the proposal network and the box head."""
        return FasterRCNNHead(spec)

    def default_classes(self) -> tuple[str, ...]:
        """Return COCO's classes as torchvision's detectors count them: ids 1 to 90 are classes 0 to 89."""
        from zoo.models.weights.layouts.torchvision_detection import coco_classes

        return coco_classes()


class DetectionData(TaskData):
    """Boxes and their class indices per image."""

    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS
    sample_data = "demo:scenes"
    recipe: ClassVar[type[Recipe]] = DetectionRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES

    def labels(self, target: Any) -> Sequence[int]:
        """Return the classes of the boxes."""
        return [int(label) for label in target["labels"]]

    def collate_targets(self, targets: Sequence[Any]) -> list[dict[str, Tensor]]:
        """Return the arrays of each image as tensors."""
        return [{name: torch.as_tensor(array) for name, array in target.items()} for target in targets]

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with class indices of the model."""
        return dataset.with_targets(lambda target: relabelled(target, new_index), classes)

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return flips, colour and scale jitter, and copy-paste."""
        return Augment(recipe, preprocess, dataset)

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Resize the batch to a random scale (multi-scale training)."""
        return rescaled(images, recipe.scale_min, recipe.scale_max), targets

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Group landscape and portrait images into separate batches if `group_aspect` is set and the data has both."""
        if recipe.group_aspect and recipe.balance == "none":
            tall = are_tall(dataset)
            if any(tall) and not all(tall):
                return AspectGrouped(tall, batch_size, smallest)
        return super().sampling(recipe, dataset, batch_size, smallest)


class DetectionAnswers(Answers):
    """Boxes, scores and labels per image."""

    def split(self, answers: Sequence[Mapping[str, Tensor]]) -> list[dict[str, NDArray[Any]]]:
        """Return boxes, scores and labels of each image."""
        return [{name: answer[name].detach().cpu().numpy() for name in ("boxes", "scores", "labels")} for answer in answers]

    def agreement(self, wanted: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
        """Compare the confident boxes of both answers."""
        return agreement(wanted, got)

    def prediction(self, answer: Mapping[str, NDArray[Any]], image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Detections:
        """Return the detections of an image."""
        return Detections(key, image, answer["boxes"], answer["scores"], answer["labels"], classes)

    def files(self) -> AnswerFiles | None:
        """Return COCO results files; see `prediction.files`."""
        from zoo.tasks.detection.prediction.files import FILES

        return FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return weighted boxes fusion."""
        from zoo.tasks.detection.prediction.combination import BoxCombination

        return BoxCombination()

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return the detections of each image next to its ground truth."""
        from zoo.tasks.detection.prediction.examples import examples

        return list(examples(answers, targets, keys, classes))[:count]


class DetectionScoring(Scoring):
    """The twelve COCO scores and the TIDE error breakdown."""

    primary_score = "AP"
    options = ScoringOptions

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the COCO metric."""
        from zoo.tasks.detection.metric.metric import CocoMetric

        order = dataset.order if isinstance(dataset, NumberedDataset) else None
        return CocoMetric(classes, ScoringOptions(**options), order)


DETECTION = Task("detection", DetectionBuilding(), DetectionData(), DetectionAnswers(), DetectionScoring())
TASKS.add("detection", DETECTION)
