"""The Task contract: everything that one task adds to a trunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from zoo.data.dataset import Dataset, Record, Sample
from zoo.data.formats import Scheme
from zoo.data.sampling import Balanced, Sampling, Shuffled
from zoo.errors import InputError, UnknownNameError
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.registry import Registry
from zoo.task.examples import Example, drawn
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric, Mistake, NoScoring
from zoo.task.prediction import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data.writers import Writer
    from zoo.models.model import Model
    from zoo.task.alignment import Aligned, Aligning
    from zoo.task.answers import AnswerFiles
    from zoo.task.attack import AttackProtocol
    from zoo.task.combination import Combination
    from zoo.task.prediction import PartsFinder
    from zoo.task.recipe import Recipe
    from zoo.task.scores import Scores


class Task(ABC):
    """One task: options, head, data formats, targets, metrics, predictions, recipe.

    Attributes:
        name: as in `zoo.build(…, task=name)`.
        min_levels: how many levels a trunk must offer.
        open_set: whether evaluation data has classes of its own, unknown to the model.
        localises: whether answers have places in the picture; if not, `zoo.predict` may hand out large pictures at a reduced scale.
        primary_score: the score by which checkpoints are compared (higher is better).
        options: frozen dataclass of the head's build options, with defaults.
        recipe: frozen dataclass of training settings, with tested defaults.
        recipes: its presets by name: "quick", "standard" (the defaults) and "thorough".
        schemes: the data formats.
        writers: the data formats that can be written; None for none.
        scoring: frozen dataclass of what may be chosen about its scores, with defaults; see `NoScoring`.
        sample_data: built-in data, whose pictures compiled models are tried on.
        score_tolerance: by precision, how far the primary score of a compiled model may be from the model's.
        attacks: those of `zoo.evaluation.robustness.attacks.Attack` that `attack_protocol` is for; empty for none.
    """

    name: ClassVar[str]
    min_levels: ClassVar[int] = 1
    open_set: ClassVar[bool] = False
    localises: ClassVar[bool] = True
    primary_score: ClassVar[str]
    options: ClassVar[type[Any]]
    recipe: ClassVar[type[Recipe]]
    recipes: ClassVar[Mapping[str, Recipe]]
    schemes: ClassVar[Registry[Scheme]]
    writers: ClassVar[Registry[Writer] | None] = None
    scoring: ClassVar[type[Any]] = NoScoring
    sample_data: ClassVar[str]
    score_tolerance: ClassVar[Mapping[str, float]] = {"fp32": 0.003, "bf16": 0.003, "int8": 0.005}
    attacks: ClassVar[tuple[str, ...]] = ()

    # -- building ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def preprocess(self, native: Preprocess, options: Any) -> Preprocess:
        """Return how pictures are prepared for this task on a trunk whose own (classification) preprocessing is `native`."""

    @abstractmethod
    def head(self, spec: HeadSpec) -> Head:
        """Build the head with fresh parameters."""

    def default_classes(self) -> tuple[str, ...]:
        """Return the classes of a model that is built without any: none."""
        return ()

    def metadata(self, options: Any) -> dict[str, Any]:
        """Return what users of the outputs must know (for faces: distance and threshold)."""
        return {}

    def found_by(self, scores: Scores) -> dict[str, Any]:
        """Return what a trained model's scores on validation data add to its metadata (for faces: the threshold that was best)."""
        return {}

    def parse_options(self, values: Mapping[str, Any]) -> Any:
        """Build the options from keywords.

        Raises:
            UnknownNameError: an option that the task doesn't have.
        """
        return _filled(self.options, values, f"option of the task {self.name}:", ("freeze",))

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the options that weights of this task can't be used without, given those that they were made with."""
        return ()

    def parse_scoring(self, values: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return every choice about the scores, the given ones and the others' defaults.

        Args:
            values: the given ones.
            metadata: of the models that answer, which a default may depend on; none for answers out of a file.

        Raises:
            UnknownNameError: a choice that the task's scores don't have, or a value that it doesn't take.
            InputError: a value that can't be meant.
        """
        return asdict(_filled(self.scoring, values, f"option of {self.name}'s scores:"))

    # -- data ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return the training augmentation of single samples.

        Args:
            recipe: the task's recipe.
            preprocess: what follows.
            dataset: the data, which others than the sample in hand may be taken from.

        Returns:
            Changes a sample; it may use torch's global random generator, which the loader seeds for every drawn sample.

        Raises:
            InputError: the recipe asks for what this data doesn't have.
        """

    def mix(self, recipe: Any, images: ImageBatch, targets: Any, num_classes: int) -> tuple[ImageBatch, Any]:
        """Mix the pictures and targets of a batch (mixup, CutMix), on the device; torch's generators are seeded.

        Args:
            recipe: the task's recipe.
            images: the batch.
            targets: as `collate_targets` gives them.
            num_classes: of the model.

        Returns:
            Pictures and targets, as `Head.loss` takes them.
        """
        return images, targets

    def soften(self, recipe: Any, targets: Any, num_classes: int) -> Any:
        """Return the targets of a batch that is not mixed, since a frozen trunk has seen its pictures already (label smoothing).

        Args:
            recipe: the task's recipe.
            targets: as `collate_targets` gives them.
            num_classes: of the model.
        """
        return targets

    def training_preprocess(self, recipe: Any, preprocess: Preprocess) -> Preprocess:
        """Return what prepares training pictures: the model's own, unless the recipe trains at other sizes."""
        return preprocess

    def suit(self, recipe: Any, options: Any) -> Any:
        """Return the recipe with what it leaves to the task settled, as a model with these options needs it.

        Raises:
            InputError: the recipe asks for what such a model can't be trained with.
        """
        return recipe

    @abstractmethod
    def labels(self, target: Any) -> Sequence[int]:
        """Return the classes that a sample's target names: one, several, or none."""

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return what makes the batches of an epoch.

        Args:
            recipe: the task's recipe.
            dataset: the (relabelled) data.
            batch_size: of all processes together.
            smallest: batch that all of them can be trained on.

        Raises:
            InputError: the recipe asks for batches that this data can't fill.
        """
        if recipe.balance == "classes":
            return Balanced(tuple(self.labels(record.target) for record in dataset.records), batch_size, smallest)
        return Shuffled(len(dataset), batch_size, smallest)

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return what the augmentation needs of a picture, in pixels, for `images.Decoding`; None for the whole of it.

        Only where targets have no coordinates may it be less than the whole: these are in the frame of the whole picture.
        """
        return None

    @abstractmethod
    def collate_targets(self, targets: Sequence[Any]) -> Any:
        """Bring the targets of a batch into the form `Head.loss` takes (tensors on the CPU)."""

    @abstractmethod
    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with each label i replaced by new_index[i], and with `classes` as its classes."""

    # -- answers -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def split(self, answers: Any) -> list[Any]:
        """Cut a batch's answer into one per picture: float32 NumPy arrays (or dicts of arrays) on the CPU."""

    @abstractmethod
    def agreement(self, wanted: Any, got: Any) -> tuple[float, float]:
        """Return how much of two answers of `split` for one picture is the same, and of how much: in classes, boxes or embeddings."""

    def answer_files(self) -> AnswerFiles:
        """Return how answers stand in files.

        Raises:
            InputError: the task has no such files.
        """
        raise InputError(f"the task {self.name} reads and writes no prediction files")

    def combination(self, metadata: Sequence[Mapping[str, Any]] = ()) -> Combination:
        """Return how several answers for one picture are brought together.

        Args:
            metadata: of the models that answer.

        Raises:
            InputError: the task has no way to.
        """
        raise InputError(f"the task {self.name} can't combine answers: evaluate one model at a time, without test-time augmentation")

    @abstractmethod
    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return a fresh metric for the (relabelled) data and a model with these classes.

        Args:
            dataset: the data that will be scored, which may bring a protocol of its own.
            classes: the names of the labels, in their order.
            options: all fields of `scoring`.
        """

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol:
        """Return what is attacked in the (relabelled) data, towards what, and how that is scored.

        Args:
            dataset: the data.
            classes: the names of the labels, in their order.
            pairs: of each kind, at most; for tasks that score pairs.
            seed: decides which pairs.
            options: all fields of `scoring`.

        Raises:
            InputError: the data has nothing that could be attacked.
        """
        raise InputError(f"the task {self.name} has no attacks")

    @abstractmethod
    def prediction(self, answer: Any, image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Prediction:
        """Turn one answer of `split` into what people get from `zoo.predict`."""

    def parts(self, model: Model, detector: object, faces: str) -> PartsFinder | None:
        """Return what finds the parts of a picture that the model answers for; None where it answers for pictures as they are.

        Args:
            model: of this task.
            detector: what finds them: None for what suits the model, "none" for nothing.
            faces: which of those found: "all", or the main one ("largest", "central").

        Raises:
            InputError: the task or the model has no use for such a detector, or for a choice of faces.
        """
        if detector is not None:
            raise InputError(f"detector: the task {self.name} answers for whole pictures; it goes without")
        if faces != "all":
            raise InputError(f"faces: the task {self.name} answers for whole pictures; it goes without")
        return None

    def align(self, dataset: Dataset, models: Sequence[Model], aligning: Aligning) -> Aligned:
        """Cut out and align what models answer for, in every picture of a data set.

        Args:
            dataset: the (relabelled) data.
            models: of this task, all of which will see the same crops.
            aligning: how.

        Raises:
            InputError: the task or a model has no use for it.
            ImageError: a picture can't be read and isn't to be skipped.
            DataError: there is nothing in any picture.
        """
        raise InputError(f"align: the task {self.name} takes pictures as they are; it goes without")

    def example_records(self, dataset: Dataset, count: int) -> list[Record]:
        """Return the samples that answers are wanted for, so that `examples` can show `count` of them; always the same ones."""
        return drawn(dataset.records, count)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return answers beside the truth, for people: for the report of a training. None where the task has nothing to show.

        Args:
            answers: of `split`, one for each of `example_records` that could be read.
            targets: as the data has them, relabelled.
            keys: of the samples.
            classes: the model's.
            count: how many, at most.
        """
        return []

    def explain(self, model: Model, batch: ImageBatch, mistake: Mistake) -> dict[str, NDArray[np.float32]]:
        """Return where the model looked when it made a mistake: for a report.

        Args:
            model: in evaluation mode.
            batch: the mistake's picture, prepared.
            mistake: one of the metric's.

        Returns:
            What each map shows, to the map: [h, w] in 0–1, of the prepared picture's size. Empty where the task has nothing to show.

        Raises:
            InputError: what it takes isn't installed.
        """
        return {}


def _filled(kind: type[Any], values: Mapping[str, Any], what: str, also: Sequence[str] = ()) -> Any:
    """Return a dataclass with these values, or say which fields it has."""
    known = [option.name for option in fields(kind)]
    for name in values:
        if name not in known:
            raise UnknownNameError(what, name, [*known, *also])
    return kind(**values)


TASKS: Registry[type[Task]] = Registry("task", package="zoo.tasks", entry_points="zoo.tasks")


def get_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        UnknownNameError: no such task; the nearest ones are listed.
    """
    return TASKS[name]()


def list_tasks() -> list[str]:
    """Return the names of the tasks.

    Example:
        >>> list_tasks()
        ['classification', 'detection', 'face']
    """
    return TASKS.names()
