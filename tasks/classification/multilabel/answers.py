"""Answers of multi-label classifiers: predictions, prediction files, combination, examples and saliency maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from zoo.images.preprocess import ImageBatch
from zoo.system.wording import counted
from zoo.task.answers import Answers, Example, Output
from zoo.task.combination import Combination
from zoo.task.metric import Mistake
from zoo.task.operating import THRESHOLDS
from zoo.task.purpose import Purpose
from zoo.tasks.classification.multilabel.targets import as_target
from zoo.tasks.classification.multilabel.thresholds import DEFAULT, label_thresholds
from zoo.tasks.classification.predictions import Classification

if TYPE_CHECKING:
    from zoo.task.answers import AnswerFiles
    from zoo.task.building import TaskModel


class MultiLabelAnswers(Answers):
    """Predictions of multi-label classifiers: logits [K] for each image, whose sigmoids are the probabilities of the classes."""

    localises = False

    def __init__(self, thresholds: NDArray[np.float64] | None = None) -> None:
        """Store the threshold of each class, [K], for the decisions that `agreement` compares; None for 0.5."""
        self._thresholds: NDArray[np.float64] | float = DEFAULT if thresholds is None else thresholds

    def for_model(self, classes: tuple[str, ...], metadata: Mapping[str, Any]) -> MultiLabelAnswers:
        """Return the answers with the thresholds that are stored with a model."""
        return MultiLabelAnswers(label_thresholds(metadata.get(THRESHOLDS), classes))

    def agreement(self, wanted: NDArray[np.float32], got: NDArray[np.float32]) -> tuple[float, float]:
        """Return the number of equal label decisions, at the thresholds of the model, and their total number."""
        decisions = (expit(logits.astype(np.float64)) > self._thresholds for logits in (wanted, got))
        return float(np.equal(*decisions).sum()), float(len(wanted))

    def prediction(
        self,
        answer: NDArray[np.float32],
        image: NDArray[np.uint8],
        key: str,
        classes: tuple[str, ...],
        metadata: Mapping[str, Any] | None = None,
    ) -> Classification:
        """Convert the logits of one image to a `Classification` object with the thresholds that are stored with the model."""
        probabilities = expit(answer.astype(np.float64)).astype(np.float32)
        return Classification(key, image, probabilities, classes, label_thresholds((metadata or {}).get(THRESHOLDS), classes))

    def purpose(self, classes: tuple[str, ...], options: Mapping[str, Any], metadata: Mapping[str, Any]) -> Purpose:
        """Describe a multi-label classifier."""
        text = f"Predicts for each of {counted(len(classes), 'class', 'classes')} whether it occurs in an image."
        default = (f"No thresholds were chosen: a class is predicted if its probability is above {DEFAULT}.",)
        return Purpose(text, "image-classification", default if metadata.get(THRESHOLDS) is None else ())

    def outputs(self, classes: tuple[str, ...]) -> tuple[Output, ...]:
        """Return the attributes of predictions that servers return as tensors."""
        return (Output("probabilities", "float32", (len(classes),)),)

    def files(self) -> AnswerFiles | None:
        """Return the reader and writer of prediction files; see `zoo.tasks.classification.prediction_files`."""
        from zoo.tasks.classification.prediction_files import MULTI_LABEL_FILES

        return MULTI_LABEL_FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return the combination of several predictions by the mean of their probabilities."""
        from zoo.tasks.classification.multilabel.combination import MeanCombination

        return MeanCombination()

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return examples that show the classes with a probability above 0.5 next to those that occur, with ? for unknown ones."""
        shown = []
        for logits, target, key in list(zip(answers, targets, keys, strict=True))[:count]:
            answer = ", ".join(classes[index] for index in np.flatnonzero(logits > 0)) or "none"
            if target is None:
                shown.append(Example((key,), answer, "", None))
                continue
            labels = as_target(target, len(classes), key)
            known = ~np.isnan(labels)
            truth = [classes[index] for index in np.flatnonzero(labels == 1)] + [f"{classes[index]}?" for index in np.flatnonzero(~known)]
            right = bool(((logits > 0) == (labels == 1))[known].all()) if known.any() else None
            shown.append(Example((key,), answer, ", ".join(truth) or "none", right))
        return shown

    def explain(self, model: TaskModel, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return Grad-CAM heat maps for the classes with the worst decisions, by caption."""
        from zoo.tasks.classification.gradcam import grad_cam

        return {f"Grad-CAM for {model.classes[label]}": grad_cam(model, batch, label) for label in mistake.labels}
