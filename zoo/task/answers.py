"""How a task converts model outputs to predictions, saves them in files, shows examples, and aligns data."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from zoo.data.dataset import Dataset, Record
from zoo.errors import Fault
from zoo.images.preprocess import ImageBatch
from zoo.system.wording import counted
from zoo.task.metric import Mistake
from zoo.task.purpose import Purpose

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    from zoo.images.decoding import Decoding
    from zoo.system.progress import Progress
    from zoo.task.building import TaskModel
    from zoo.task.combination import Combination

_SAME = 0.05  # maximum distance between two predictions that count as equal, relative to the norm of the expected one


class Parts(Protocol):
    """Regions detected in one image."""

    @property
    def crops(self) -> Sequence[NDArray[np.uint8]]:
        """One crop [h, w, 3], RGB, for each region; empty if no region was detected."""

    def prediction(self, answers: Sequence[Any]) -> Prediction:
        """Assemble the image's prediction from the model's outputs, one for each crop."""


class PartsFinder(Protocol):
    """Detector of regions in an image."""

    def __call__(self, image: NDArray[np.uint8], key: str) -> Parts:
        """Detect the regions in an image.

        Args:
            image: [H, W, 3], RGB.
            key: path or name of the image.

        Raises:
            ImageError: the image can't be processed. The message contains the key.
        """


class Prediction(Protocol):
    """A model's prediction for one image, as returned to users."""

    @property
    def key(self) -> str:
        """Path or name of the image."""

    def plot(self) -> PILImage:
        """Return the image with the prediction drawn on it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as a JSON-serialisable dict."""


@runtime_checkable
class Layered(Prediction, Protocol):
    """A prediction that can be drawn together with those of other heads of the model."""

    def draw(self, picture: PILImage) -> PILImage:
        """Return an image with boxes and other marks drawn on it.

        Args:
            picture: image of the prediction, enlarged by an integer factor, which may show the marks of other heads.
        """

    def lines(self) -> list[str]:
        """Return the text to write below the image."""


@runtime_checkable
class Thresholded(Prediction, Protocol):
    """A prediction that depends on a threshold, such as the minimum score of detections."""

    def above(self, threshold: float) -> Prediction:
        """Return the prediction with another threshold, 0–1.

        Raises:
            InputError: the threshold is out of range.
        """


@dataclass(frozen=True)
class Output:
    """An attribute of predictions that servers return as a tensor.

    Attributes:
        name: name of the attribute, which is an array or a number.
        dtype: "float32" or "int64".
        shape: shape for one image. None is the number of objects, which comes first, and -1 any other length that isn't known.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class AnswerFiles:
    """Reader and writer of a task's prediction files.

    Attributes:
        suffixes: file name suffixes supported by `write`.
        read: function of the file, the relabelled dataset and the class names. It returns one prediction for each sample key, in the
            format of `Answers.split`, or None if the file states that there is no prediction (an image without a face). It raises
            InputError, which names the file and the line or entry, for unknown samples, samples without a prediction, numbers that
            aren't finite, inverted boxes, and labels that aren't among the classes.
        write: function of the file, the predictions by key, the relabelled dataset and the class names. It overwrites the file. `read`
            restores the predictions without loss.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Dataset, tuple[str, ...]], Mapping[str, Any]]
    write: Callable[[Path, Mapping[str, Any], Dataset, tuple[str, ...]], None]


@dataclass(frozen=True)
class Aligning:
    """Settings for aligning a dataset.

    Attributes:
        detector: detector of the regions to align, such as faces; accepts the same values as `detector` of `zoo.predict`.
        decoding: how images are decoded.
        skip: whether to skip images that can't be read. If False, they raise an error.
        progress: display of the progress bar.
        rank: index of this process. Each process aligns a different subset first, and loads the rest from the cache.
        processes: number of processes.
        kept: cache files used by this run. The aligner adds them here, so that they are not deleted when a later dataset is aligned.
    """

    detector: object
    decoding: Decoding
    skip: bool
    progress: Progress
    rank: int = 0
    processes: int = 1
    kept: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class Aligned:
    """Result of aligning a dataset.

    Attributes:
        dataset: the aligned crops, with the keys of their images. Images without a detected region are not included.
        not_found: errors of images in which no region was detected, in dataset order.
        unreadable: errors of skipped images that can't be read.
        details: detector and settings, JSON-serialisable.
    """

    dataset: Dataset
    not_found: tuple[Fault, ...]
    unreadable: tuple[Fault, ...]
    details: Mapping[str, Any]

    @property
    def left_out(self) -> tuple[Fault, ...]:
        """Errors of all images that are not included in `dataset`."""
        return (*self.not_found, *self.unreadable)


@dataclass(frozen=True)
class Example:
    """A sample, or a pair of samples, with the model's prediction and the ground truth.

    Attributes:
        keys: key of the sample, or the two keys of a pair.
        answer: the model's prediction as text.
        truth: the ground truth as text; "" if unknown.
        right: whether the prediction is correct; None if unknown.
        boxes_xyxy: boxes (xyxy) in pixels of the original image, each with a caption in the format of `zoo.task.metric.Mistake.boxes_xyxy`.
    """

    keys: tuple[str, ...]
    answer: str
    truth: str
    right: bool | None
    boxes_xyxy: tuple[tuple[tuple[float, float, float, float], str], ...] = ()


def drawn(records: Sequence[Record], count: int) -> list[Record]:
    """Return up to `count` records in dataset order. The choice depends only on the keys, not on the order of the records."""
    places = sorted(range(len(records)), key=lambda place: hashlib.sha256(records[place].key.encode("utf-8", "replace")).digest())
    return [records[place] for place in sorted(places[:count])]


class Answers(ABC):
    """How a task handles model outputs. Subclasses must implement `prediction`; everything else is optional.

    Attributes:
        localises: whether predictions contain image coordinates. If not, `zoo.predict` may decode large images at a reduced scale.
    """

    localises: ClassVar[bool] = True

    def split(self, answers: Any) -> list[Any]:
        """Split the model output for a batch into one prediction per image: float32 arrays or dicts of arrays. By default, the rows."""
        return list(answers.float().cpu().numpy())

    def for_model(self, classes: tuple[str, ...], metadata: Mapping[str, Any]) -> Answers:
        """Return the answers for a model with these classes and metadata, if they depend on them. By default, return the object itself.

        Raises:
            InputError: the metadata is invalid.
        """
        return self

    def agreement(self, wanted: Any, got: Any) -> tuple[float, float]:
        """Compare two predictions for one image, in the format of `split`.

        Returns:
            The number of equal elements (classes, boxes, embeddings) and the total number of elements. By default, the whole array is one
            element, compared with a tolerance of 5 % of the norm of `wanted`.
        """
        return float(np.linalg.norm(wanted - got) <= _SAME * np.linalg.norm(wanted)), 1.0

    @abstractmethod
    def prediction(
        self, answer: Any, image: NDArray[np.uint8], key: str, classes: tuple[str, ...], metadata: Mapping[str, Any] | None = None
    ) -> Prediction:
        """Return the prediction that `zoo.predict` yields for one image.

        Args:
            answer: model output for the image, as returned by `split`.
            image: [H, W, 3] uint8, RGB.
            key: path or name of the image.
            classes: class names by index.
            metadata: metadata of the model, such as its thresholds; None for the defaults.
        """

    def outputs(self, classes: tuple[str, ...]) -> tuple[Output, ...]:
        """Return the attributes of predictions that servers return as tensors. None by default: servers then return only JSON.

        Args:
            classes: class names by index.
        """
        return ()

    def purpose(self, classes: tuple[str, ...], options: Mapping[str, Any], metadata: Mapping[str, Any]) -> Purpose:
        """Describe what a model does, for its model card. By default, only the number of its classes.

        Args:
            classes: class names by index.
            options: build options of the model.
            metadata: metadata of the model.
        """
        return Purpose(f"Predicts {counted(len(classes), 'class', 'classes')}.")

    def without_operating_point(self, metadata: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """Return a hint for users of a model whose predictions need thresholds that it doesn't have; "" by default.

        Args:
            metadata: metadata of the model.
            options: build options of the model.
        """
        return ""

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
