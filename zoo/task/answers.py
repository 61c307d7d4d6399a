"""The answers of a task's models: per image, as predictions for users, in files, and combined over models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from zoo.data.dataset import Dataset, Record
from zoo.images.preprocess import ImageBatch
from zoo.task.examples import Example, drawn
from zoo.task.metric import Mistake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.task.alignment import Aligned, Aligning
    from zoo.task.answer_files import AnswerFiles
    from zoo.task.combination import Combination
    from zoo.task.model import TaskModel
    from zoo.task.prediction import PartsFinder, Prediction

_SAME = 0.05  # largest distance of two answers that count as equal, relative to their norm


class Answers(ABC):
    """The answers of a task's models. Only `prediction` must be implemented.

    Attributes:
        localises: whether answers contain image coordinates; if not, `zoo.predict` may decode large images at a reduced scale.
    """

    localises: ClassVar[bool] = True

    def split(self, answers: Any) -> list[Any]:
        """Split a batch's answer into one per image: float32 NumPy arrays (or dicts of arrays) on the CPU; by default the rows."""
        return list(answers.float().cpu().numpy())

    def agreement(self, wanted: Any, got: Any) -> tuple[float, float]:
        """Compare two answers for one image, as returned by `split`.

        Returns:
            The number of equal parts (classes, boxes, embeddings) and the total number of parts; by default whole arrays are compared,
            with a tolerance of 5 % of the norm.
        """
        return float(np.linalg.norm(wanted - got) <= _SAME * np.linalg.norm(wanted)), 1.0

    @abstractmethod
    def prediction(self, answer: Any, image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Prediction:
        """Return the result that `zoo.predict` yields for one image.

        Args:
            answer: an answer, as returned by `split`.
            image: [H, W, 3] uint8, RGB.
            key: path or name of the image.
            classes: class names by index.
        """

    def files(self) -> AnswerFiles | None:
        """Return the reader and writer of prediction files; None where the task has no such files."""
        return None

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return how answers of several models or views are combined; None where the task can't combine them.

        Args:
            metadata: metadata of each model.
        """
        return None

    def parts(self, model: TaskModel, detector: object, faces: str) -> PartsFinder | None:
        """Return the detector of the image parts that the model answers for; None where it answers for whole images.

        Args:
            model: a model of this task.
            detector: the detector; None for the model's default, "none" for no detector.
            faces: which parts to answer for: "all", or only the main one ("largest", "central").

        Raises:
            InputError: the model can't be used with this detector or choice of parts.
        """
        return None

    def align(self, dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned | None:
        """Crop and align the parts that models answer for, in every image of a dataset; None where the task takes whole images.

        Args:
            dataset: the relabelled data.
            models: models of this task, which all receive the same crops.
            aligning: detector and settings.

        Raises:
            InputError: a model doesn't support alignment.
            ImageError: an image can't be read and isn't to be skipped.
            DataError: no image contains a part.
        """
        return None

    def example_records(self, dataset: Dataset, count: int) -> list[Record]:
        """Return the records whose answers `examples` needs to show `count` examples; always the same records for a dataset."""
        return drawn(dataset.records, count)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return answers next to the ground truth, for the training report; by default none.

        Args:
            answers: one answer, as returned by `split`, for each readable record of `example_records`.
            targets: relabelled targets of these records.
            keys: keys of these records.
            classes: the model's class names.
            count: maximum number of examples.
        """
        return []

    def explain(self, model: TaskModel, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return saliency maps for a mistake, for the evaluation report; by default none.

        Args:
            model: the model, in evaluation mode.
            batch: the preprocessed image of the mistake.
            mistake: one of the metric's mistakes.

        Returns:
            Maps by caption: [h, w] in 0–1, of the preprocessed image's size.

        Raises:
            InputError: a required package isn't installed.
        """
        return {}
