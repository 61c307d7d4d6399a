"""How a task converts model outputs to predictions, saves them in files, and combines them."""

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

_SAME = 0.05  # maximum distance between two predictions that count as equal, relative to the norm of the expected one


class Answers(ABC):
    """How a task handles model outputs. Subclasses must implement `prediction`; everything else is optional.

    Attributes:
        localises: whether predictions contain image coordinates. If not, `zoo.predict` may decode large images at a reduced scale.
    """

    localises: ClassVar[bool] = True

    def split(self, answers: Any) -> list[Any]:
        """Split the model output for a batch into one prediction per image: float32 arrays or dicts of arrays. By default, the rows."""
        return list(answers.float().cpu().numpy())

    def agreement(self, wanted: Any, got: Any) -> tuple[float, float]:
        """Compare two predictions for one image, in the format of `split`.

        Returns:
            The number of equal elements (classes, boxes, embeddings) and the total number of elements. By default, the whole array is one
            element, compared with a tolerance of 5 % of the norm of `wanted`.
        """
        return float(np.linalg.norm(wanted - got) <= _SAME * np.linalg.norm(wanted)), 1.0

    @abstractmethod
    def prediction(self, answer: Any, image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Prediction:
        """Return the prediction that `zoo.predict` yields for one image.

        Args:
            answer: model output for the image, as returned by `split`.
            image: [H, W, 3] uint8, RGB.
            key: path or name of the image.
            classes: class names by index.
        """

    def files(self) -> AnswerFiles | None:
        """Return the reader and writer of prediction files; None if the task doesn't support prediction files."""
        return None

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return the object that combines the predictions of several models or views; None if the task can't combine predictions.

        Args:
            metadata: metadata of each model.
        """
        return None

    def parts(self, model: TaskModel, detector: object, faces: str) -> PartsFinder | None:
        """Return the detector that finds the image regions (such as faces) to process; None if the model processes whole images.

        Args:
            model: a model of this task.
            detector: the detector; None for the model's default, "none" for no detector.
            faces: faces to process: "all", or only the main one ("largest" or "central").

        Raises:
            InputError: the model doesn't support this detector or choice of faces.
        """
        return None

    def align(self, dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned | None:
        """Crop and align the regions that the models process, such as faces, in all images of a dataset.

        Args:
            dataset: the relabelled dataset.
            models: models of this task. All of them receive the same crops.
            aligning: detector and settings.

        Returns:
            The aligned dataset; None if the models of this task process whole images.

        Raises:
            InputError: a model doesn't support alignment.
            ImageError: an image can't be read, and `aligning.skip` is False.
            DataError: no region was detected in any image.
        """
        return None

    def example_records(self, dataset: Dataset, count: int) -> list[Record]:
        """Return the records to predict so that `examples` can show `count` examples. The choice is deterministic for a given dataset."""
        return drawn(dataset.records, count)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return predictions next to the ground truth, for the training report. Empty by default.

        Args:
            answers: one prediction, in the format of `split`, for each readable record of `example_records`.
            targets: relabelled targets of these records.
            keys: keys of these records.
            classes: the model's class names.
            count: maximum number of examples.
        """
        return []

    def explain(self, model: TaskModel, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return saliency maps for a mistake, for the evaluation report. Empty by default.

        Args:
            model: the model, in evaluation mode.
            batch: the preprocessed image of the mistake.
            mistake: a mistake reported by the metric.

        Returns:
            Maps by caption, each [h, w] in 0–1, with the size of the preprocessed image.

        Raises:
            InputError: a required package isn't installed.
        """
        return {}
