"""Classification task: the components of image classifiers that the zoo's registry provides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.system.wording import counted
from zoo.task.answers import Answers, Example, Output
from zoo.task.building import Building
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric, Mistake
from zoo.task.operating import THRESHOLDS, Decisions, stored_thresholds
from zoo.task.purpose import Purpose
from zoo.task.scoring import Scoring
from zoo.tasks.classification.binary import decision_of, positive_class
from zoo.tasks.classification.data import ClassificationData
from zoo.tasks.classification.head import ClassificationHead, NeighbourHead
from zoo.tasks.classification.multilabel.answers import MultiLabelAnswers
from zoo.tasks.classification.multilabel.data import MultiLabelData
from zoo.tasks.classification.multilabel.head import MultiLabelHead
from zoo.tasks.classification.multilabel.scoring import MultiLabelScoring
from zoo.tasks.classification.options import ClassificationOptions, ThresholdScoring
from zoo.tasks.classification.predictions import Classification

if TYPE_CHECKING:
    from zoo.task.answers import AnswerFiles
    from zoo.task.building import TaskModel
    from zoo.task.scoring import AttackProtocol


class ClassificationBuilding(Building):
    """Construction of classifiers: a linear layer or nearest neighbours on pooled features."""

    options = ClassificationOptions

    def preprocess(self, native: Preprocess, options: ClassificationOptions) -> Preprocess:
        """Return the backbone's default preprocessing, with `image_size` as the input size if it is set."""
        return native if options.image_size is None else replace(native, size_hw=(options.image_size, options.image_size))

    def accepts_any_size(self, options: ClassificationOptions) -> bool:
        """Return whether no image size is set: features of any size can be pooled."""
        return options.image_size is None

    def head(self, spec: HeadSpec) -> Head:
        """Create a linear head or a k-nearest-neighbours head."""
        if spec.options.multi_label:
            return MultiLabelHead(spec.levels[-1].channels, spec.num_classes, spec.options.dropout)
        if spec.options.classifier == "knn":
            return NeighbourHead(spec.levels[-1].channels, spec.num_classes, spec.options.neighbours)
        return ClassificationHead(spec.levels[-1].channels, spec.num_classes, spec.options.dropout)

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return `multi_label`: weights trained for one class per image can't predict several, and vice versa."""
        return ("multi_label",) if "multi_label" in made_with else ()

    def metadata(self, options: ClassificationOptions) -> dict[str, Any]:
        """Return the entry of the thresholds for multi-label models; None stands for 0.5 for every class."""
        return {THRESHOLDS: None} if options.multi_label else {}

    def default_classes(self) -> tuple[str, ...]:
        """Return the 1000 classes of ImageNet, timm's default."""
        from zoo.models.classes import imagenet_classes  # imports large tables

        return imagenet_classes()


class ClassificationAnswers(Answers):
    """Predictions of classifiers: logits [K] for each image."""

    localises = False

    def agreement(self, wanted: NDArray[np.float32], got: NDArray[np.float32]) -> tuple[float, float]:
        """Return (1, 1) if both predictions have the same top class, otherwise (0, 1); the second value is the number of comparisons."""
        return float(wanted.argmax() == got.argmax()), 1.0

    def prediction(
        self,
        answer: NDArray[np.float32],
        image: NDArray[np.uint8],
        key: str,
        classes: tuple[str, ...],
        metadata: Mapping[str, Any] | None = None,
    ) -> Classification:
        """Convert the logits of one image to a `Classification` object. Of two classes, a stored threshold may decide."""
        return Classification.from_logits(key, image, answer, classes, decision_of((metadata or {}).get(THRESHOLDS), classes))

    def for_model(self, classes: tuple[str, ...], metadata: Mapping[str, Any]) -> ClassificationAnswers:
        """Check the stored threshold of two classes, and return the object itself."""
        decision_of(metadata.get(THRESHOLDS), classes)
        return self

    def purpose(self, classes: tuple[str, ...], options: Mapping[str, Any], metadata: Mapping[str, Any]) -> Purpose:
        """Describe a classifier with one class per image."""
        text = f"Classifies an image into one of {counted(len(classes), 'class', 'classes')}."
        return Purpose(text, "image-classification", ("Every image gets one of the classes, also an image that shows none of them.",))

    def outputs(self, classes: tuple[str, ...]) -> tuple[Output, ...]:
        """Return the attributes of predictions that servers return as tensors."""
        return (Output("probabilities", "float32", (len(classes),)), Output("label", "int64", ()))

    def files(self) -> AnswerFiles | None:
        """Return the reader and writer of prediction files; see `prediction_files`."""
        from zoo.tasks.classification.prediction_files import FILES

        return FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return the combination of several predictions by voting."""
        from zoo.tasks.classification.combination import ProbabilityCombination

        return ProbabilityCombination()

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return examples that show the most probable class of each image next to the true class, if it is known (not None)."""
        shown = []
        for logits, target, key in list(zip(answers, targets, keys, strict=True))[:count]:
            best = int(logits.argmax())
            probability = 1 / np.exp(logits.astype(np.float64) - logits[best]).sum()
            truth, right = ("", None) if target is None else (classes[int(target)], best == int(target))
            shown.append(Example((key,), f"{classes[best]} ({probability:.0%})", truth, right))
        return shown

    def explain(self, model: TaskModel, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return Grad-CAM heat maps for the true class and for the predicted class, by caption."""
        from zoo.tasks.classification.gradcam import grad_cam

        captions = ("Grad-CAM for the true class", "Grad-CAM for the predicted class")
        return {caption: grad_cam(model, batch, label) for caption, label in zip(captions, mistake.labels, strict=False)}


class ClassificationScoring(Scoring):
    """Evaluation of classifiers by accuracy, precision, recall, F1, calibration error and AUC."""

    primary_score = "top1"
    options = ThresholdScoring
    score_names: ClassVar[tuple[str, ...]] = ("top1", "top5", "ece", "auc", "precision*", "recall*", "f1*")
    attacks: ClassVar[tuple[str, ...]] = ("fgsm", "pgd", "autoattack")

    def settle(self, options: dict[str, Any], metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add the threshold that is stored with the models. If it differs between models, the most probable class is predicted."""
        return {**options, THRESHOLDS: stored_thresholds(metadata)}

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the classification metric: top1, top5, precision, recall, f1, ece, auc and the confusion matrix."""
        from zoo.tasks.classification.metrics import ClassificationMetric

        stored, threshold = options.get(THRESHOLDS), options.get("threshold")
        if threshold is not None:
            stored = {positive_class(classes, next(iter(stored or {}), None)): threshold}
        return ClassificationMetric(classes, decision_of(stored, classes))

    def decisions(
        self, metric: Any, classes: tuple[str, ...], options: Mapping[str, Any], positive: str | None
    ) -> Mapping[str, Decisions] | None:
        """Return the decisions about the positive class of two."""
        name = positive_class(classes, positive)
        return {name: metric.decisions(classes.index(name))}

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol | None:
        """Return a protocol that attacks every image by raising the loss of its class."""
        from zoo.tasks.classification.metrics import ClassAttack

        return ClassAttack(dataset, classes)


class ClassificationTask(Task):
    """Classification with one class per image; its variant for models with `multi_label` is multi-label classification."""

    def variant(self, options: Mapping[str, Any]) -> Task:
        """Return the multi-label variant if the models are multi-label, otherwise the task itself."""
        return MULTI_LABEL if options.get("multi_label") else self


_BUILDING = ClassificationBuilding()
MULTI_LABEL = Task("classification", _BUILDING, MultiLabelData(), MultiLabelAnswers(), MultiLabelScoring())
CLASSIFICATION = ClassificationTask("classification", _BUILDING, ClassificationData(), ClassificationAnswers(), ClassificationScoring())
TASKS.add("classification", CLASSIFICATION)
