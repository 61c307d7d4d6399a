"""Detection task: the components of Faster R-CNN detectors that the zoo's registry provides."""

from __future__ import annotations

import functools
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
from zoo.system.wording import counted
from zoo.task.answers import Answers, Example, Output
from zoo.task.building import Building
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.data import TaskData
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric
from zoo.task.operating import THRESHOLDS, Decisions, as_thresholds, stored_thresholds
from zoo.task.purpose import Purpose
from zoo.task.recipe import Recipe
from zoo.task.scoring import Scoring
from zoo.tasks.detection.attributes import Attributes, checked_attributes
from zoo.tasks.detection.data.attributes import attributes_matched, check_attributes
from zoo.tasks.detection.data.coco import NumberedDataset
from zoo.tasks.detection.data.targets import relabelled
from zoo.tasks.detection.datasets import SCHEMES
from zoo.tasks.detection.model.head import FasterRCNNHead
from zoo.tasks.detection.options import SMALL_INPUT, DetectionOptions
from zoo.tasks.detection.options import DetectionScoring as ScoringOptions
from zoo.tasks.detection.prediction.detections import Detections, equal_boxes
from zoo.tasks.detection.training.augment import Augment, rescaled
from zoo.tasks.detection.training.grouping import AspectGrouped, are_tall
from zoo.tasks.detection.training.recipe import RECIPES, DetectionRecipe
from zoo.tasks.detection.writers import WRITERS

if TYPE_CHECKING:
    from zoo.task.answers import AnswerFiles


class DetectionBuilding(Building):
    """Construction of detectors: Faster R-CNN with a feature pyramid on any backbone."""

    options = DetectionOptions
    min_levels = 2

    def settle(self, options: DetectionOptions) -> DetectionOptions:
        """Replace options that are None by their defaults, which depend on the image size."""
        return options.settled()

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the options that trained weights fix: the anchors, to which predicted offsets are relative, and the head's layers."""
        return [name for name in ("anchor_scale", "head_version") if name in made_with]

    def layer_options(self) -> Sequence[str]:
        """Return the options of the pyramid, the box head and the attributes."""
        return "fpn_channels", "representation_size", "attributes"

    def preprocess(self, native: Preprocess, options: DetectionOptions) -> Preprocess:
        """Return preprocessing that resizes images as torchvision's detectors do and normalises them as the backbone requires.

        Resizing keeps the aspect ratio. Detection weights keep the antialiasing setting of their training at every size; torchvision's
        were trained at 800 pixels without antialiasing. Otherwise, antialiasing is used for small inputs, which are mostly downscaled.
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
        """Create the Faster R-CNN head: feature pyramid, region proposal network and box head."""
        return FasterRCNNHead(spec)

    def default_classes(self) -> tuple[str, ...]:
        """Return the names of COCO's categories in the numbering of torchvision's detectors: category ids 1 to 90 are classes 0 to 89."""
        from zoo.models.weights.layouts.torchvision_detection import coco_classes

        return coco_classes()


class DetectionData(TaskData):
    """Data of detection: boxes with class indices for each image, and indices of the values of the model's attributes."""

    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS
    sample_data = "demo:scenes"
    recipe: ClassVar[type[Recipe]] = DetectionRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES
    mixing = ("copy_paste",)

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def labels(self, target: Any) -> Sequence[int]:
        """Return the class index of each box."""
        return [int(label) for label in target["labels"]]

    def collate_targets(self, targets: Sequence[Any]) -> list[dict[str, Tensor]]:
        """Convert the arrays in the target of each image to tensors. Attributes that the model doesn't have are texts, and are left out."""
        arrays = ({name: np.asarray(array) for name, array in target.items()} for target in targets)
        return [{name: torch.as_tensor(array) for name, array in each.items() if array.dtype.kind not in "OU"} for each in arrays]

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the dataset with its class indices replaced by the model's."""
        return dataset.with_targets(lambda target: relabelled(target, new_index), classes)

    def checked(self, dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
        """Return the dataset with indices of the model's values as attributes."""
        return attributes_matched(dataset, self._attributes)

    def check_training(self, dataset: Dataset) -> Sequence[str]:
        """Raise an `InputError` if no box has a value of one of the model's attributes; name attributes that the model doesn't have."""
        return check_attributes(dataset, self._attributes)

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return the transformation of training images: scale jitter, flips, brightness and contrast, and copy-paste."""
        return Augment(recipe, preprocess, dataset)

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Resize a batch by a random factor (multi-scale training). The targets don't change."""
        return rescaled(images, recipe.scale_min, recipe.scale_max), targets

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return the sampling of training batches, which separates wide from tall images if `group_aspect` is set.

        Images are not separated if all have the same orientation, or if `balance` is set.
        """
        if recipe.group_aspect and recipe.balance == "none":
            tall = are_tall(dataset)
            if any(tall) and not all(tall):
                return AspectGrouped(tall, batch_size, smallest)
        return super().sampling(recipe, dataset, batch_size, smallest)


class DetectionAnswers(Answers):
    """Predictions of detectors: boxes, scores, labels and probabilities of attributes for each image."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def split(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Convert the boxes, scores, labels and attributes of each image to NumPy arrays."""
        found = []
        for answer in answers:
            arrays: dict[str, Any] = {name: answer[name].detach().cpu().numpy() for name in ("boxes", "scores", "labels")}
            if self._attributes:
                arrays["attributes"] = {name: values.detach().cpu().numpy() for name, values in answer["attributes"].items()}
            found.append(arrays)
        return found

    def agreement(self, wanted: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[float, float]:
        """Return the number of confident boxes that both predictions contain, and the total number of confident boxes."""
        found = [equal_boxes(wanted, got), equal_boxes(got, wanted)]
        return sum(equal for equal, _ in found), sum(count for _, count in found)

    def prediction(
        self,
        answer: Mapping[str, Any],
        image: NDArray[np.uint8],
        key: str,
        classes: tuple[str, ...],
        metadata: Mapping[str, Any] | None = None,
    ) -> Detections:
        """Convert the prediction for one image to a `Detections` object, without detections below the stored thresholds."""
        values = {name: tuple(values) for name, values in self._attributes.items()}
        thresholds = as_thresholds((metadata or {}).get(THRESHOLDS), classes)
        found = Detections(key, image, answer["boxes"], answer["scores"], answer["labels"], classes, answer.get("attributes", {}), values)
        return found if thresholds is None else found.at(thresholds)

    def for_model(self, classes: tuple[str, ...], metadata: Mapping[str, Any]) -> DetectionAnswers:
        """Check the stored thresholds, and return the object itself."""
        as_thresholds(metadata.get(THRESHOLDS), classes)
        return self

    def without_operating_point(self, metadata: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """Return a hint to choose thresholds, unless the model has some, or its minimum score isn't the default, 0.05."""
        if metadata.get(THRESHOLDS) is not None or options.get("score_threshold") != DetectionOptions.score_threshold:
            return ""
        return (
            f"the detector has no operating point: all detections with a score of at least {DetectionOptions.score_threshold} are "
            "returned. Choose thresholds on validation data with zoo tune, or pass --threshold (threshold=)"
        )

    def purpose(self, classes: tuple[str, ...], options: Mapping[str, Any], metadata: Mapping[str, Any]) -> Purpose:
        """Describe a detector, with its attributes."""
        text = f"Detects objects of {counted(len(classes), 'class', 'classes')}: the box, the class and the score of each."
        if self._attributes:
            named = "; ".join(f"{name} ({', '.join(values)})" for name, values in self._attributes.items())
            text = f"{text} Attributes of each object: {named}."
        most = f"At most {counted(options['max_detections'], 'object')} of an image are returned."
        least = f"No thresholds were chosen: all detections with a score of at least {options['score_threshold']} are returned."
        return Purpose(text, "object-detection", (most, *([least] if metadata.get(THRESHOLDS) is None else [])))

    def outputs(self, classes: tuple[str, ...]) -> tuple[Output, ...]:
        """Return the attributes of predictions that servers return as tensors."""
        return (Output("boxes", "float32", (None, 4)), Output("scores", "float32", (None,)), Output("labels", "int64", (None,)))

    def files(self) -> AnswerFiles | None:
        """Return the reader and writer of COCO results files; see `prediction.files`."""
        from zoo.tasks.detection.prediction.files import files

        return files(self._attributes)

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return the combination of several predictions by weighted boxes fusion."""
        from zoo.tasks.detection.prediction.combination import BoxCombination

        return BoxCombination()

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return examples that show the detections of each image next to its ground truth."""
        from zoo.tasks.detection.metric.report import examples

        return list(examples(answers, targets, keys, classes, self._attributes))[:count]


class DetectionScoring(Scoring):
    """Evaluation of detectors by the twelve COCO scores, the scores of attributes, and the TIDE error breakdown."""

    primary_score = "AP"
    options = ScoringOptions
    score_names: ClassVar[tuple[str, ...]] = ("AP", "AP50", "AP75", "AP[sml]", "AR[0-9]*", "AR[sml]", "attribute_*")

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def settle(self, options: dict[str, Any], metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add the thresholds that are stored with the models, if they are the same for all of them."""
        return {**options, THRESHOLDS: stored_thresholds(metadata)}

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return a metric that computes the COCO scores, breaking ties by the order of the dataset's image ids, if it has any."""
        from zoo.tasks.detection.metric.metric import CocoMetric

        order = dataset.order if isinstance(dataset, NumberedDataset) else None
        stored, scoring = options.pop(THRESHOLDS, None), ScoringOptions(**options)
        thresholds = stored if scoring.threshold is None else dict.fromkeys(classes, scoring.threshold)
        as_thresholds(thresholds, classes)
        return CocoMetric(classes, scoring, order, self._attributes, thresholds)

    def decisions(
        self, metric: Any, classes: tuple[str, ...], options: Mapping[str, Any], positive: str | None
    ) -> Mapping[str, Decisions] | None:
        """Return the decisions about detections by class. The default threshold is the minimum score of all detections."""
        found: Mapping[str, Decisions] = metric.decisions(options["score_threshold"])
        return found


class DetectionTask(Task):
    """Detection, with a variant for each set of attributes."""

    def variant(self, options: Mapping[str, Any]) -> Task:
        """Return the task for models with the attributes in the options."""
        attributes = checked_attributes(options.get("attributes") or {})
        return _variant(tuple((name, tuple(values)) for name, values in attributes.items())) if attributes else DETECTION

    def takes_weights_of(self, other: Task) -> bool:
        """Return True: variants differ only in the layers of the attributes, which may be newly initialised."""
        return True


def _of(attributes: Attributes) -> DetectionTask:
    data, answers, scoring = DetectionData(attributes), DetectionAnswers(attributes), DetectionScoring(attributes)
    return DetectionTask("detection", DetectionBuilding(), data, answers, scoring)


@functools.cache
def _variant(attributes: tuple[tuple[str, tuple[str, ...]], ...]) -> DetectionTask:
    """Return the variant for these attributes; always the same object, because variants are compared by identity."""
    return _of(dict(attributes))


DETECTION = _of({})
TASKS.add("detection", DETECTION)
