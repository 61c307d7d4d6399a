"""The `Task` contract: everything that a task adds to a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data as open_data_with
from zoo.errors import InputError, UnknownNameError
from zoo.registry import Registry
from zoo.task.answers import Answers
from zoo.task.building import Building
from zoo.task.data import TaskData
from zoo.task.recipe import Recipe, find_recipe, replace_settings
from zoo.task.scoring import Scoring

if TYPE_CHECKING:
    from zoo.task.alignment import Aligned, Aligning
    from zoo.task.answer_files import AnswerFiles
    from zoo.task.attack import AttackProtocol
    from zoo.task.combination import Combination
    from zoo.task.model import TaskModel
    from zoo.task.prediction import PartsFinder

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A task: four contracts under one name.

    The methods parse options, and raise an error for features that the task doesn't support.

    Attributes:
        name: name of the task, as in `zoo.build(…, task=name)`.
        building: options, preprocessing and head of its models.
        data: data formats, targets, training settings, augmentation and sampling.
        answers: answers per image, predictions, prediction files and combination of answers.
        scoring: metric, scoring options and attacks.
    """

    name: str
    building: Building
    data: TaskData
    answers: Answers
    scoring: Scoring

    def open(self, data: object, on_error: OnError = "raise", say: Callable[[str], None] | None = None, pictures: bool = True) -> Dataset:
        """Open a dataset; `zoo.open_data` is the public form.

        Args:
            data: a dataset string, a path, an open `Dataset` or a sequence of samples.
            on_error: "raise", or "skip" to skip faulty samples and record them in `Dataset.skipped`.
            say: callback that receives messages, such as the format recognised for a bare path.
            pictures: whether the image files must exist.

        Raises:
            DataError: no samples are found, or the annotations contain errors.
            InputError: unknown format or option, or a path whose format is ambiguous.
        """
        return open_data_with(data, self.data.schemes, self.name, on_error, say, pictures)

    def parse_options(self, values: Mapping[str, Any]) -> Any:
        """Build the options from keywords, with every default filled in.

        Raises:
            UnknownNameError: the task has no such option.
            InputError: a value is invalid.
        """
        return self.building.settle(_filled(self.building.options, values, f"option of the task {self.name}:", ("freeze",)))

    def parse_scoring(self, values: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return all scoring options: the given values, and defaults for the others.

        Args:
            values: scoring options by name.
            metadata: metadata of each model, which defaults may depend on; empty for answers from a file.

        Raises:
            UnknownNameError: the task has no such scoring option, or the option has no such value.
            InputError: a value is invalid.
        """
        return self.scoring.settle(asdict(_filled(self.scoring.options, values, f"option of {self.name}'s scores:")), metadata)

    def answer_files(self) -> AnswerFiles:
        """Return the reader and writer of prediction files.

        Raises:
            InputError: the task has no prediction files.
        """
        return self._supported(self.answers.files(), "reads and writes no prediction files")

    def combination(self, metadata: Sequence[Mapping[str, Any]] = ()) -> Combination:
        """Return how answers of several models or views are combined.

        Raises:
            InputError: the task can't combine answers.
        """
        found = self.answers.combination(metadata)
        return self._supported(found, "can't combine answers: evaluate one model at a time, without test-time augmentation")

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol:
        """Return which images are attacked, the attacker's loss and how the result is scored; arguments as in `Scoring`.

        Raises:
            InputError: the task has no attacks, or the data contains nothing that can be attacked.
        """
        return self._supported(self.scoring.attack_protocol(dataset, classes, pairs, seed, **options), "has no attacks")

    def parts(self, model: TaskModel, detector: object, faces: str) -> PartsFinder | None:
        """Return the detector of the image parts that a model answers for; None where it answers for whole images.

        Raises:
            InputError: a detector or a choice of faces is passed for a task or model that can't use it.
        """
        if type(self.answers).parts is Answers.parts:
            for name, given in (("detector", detector is not None), ("faces", faces != "all")):
                if given:
                    raise InputError(f"{name}: the task {self.name} answers for whole images; it can't be used there")
        return self.answers.parts(model, detector, faces)

    def align(self, dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned:
        """Crop and align the parts that models answer for, in every image of a dataset; arguments as in `Answers`.

        Raises:
            InputError: the task or a model doesn't support alignment.
            ImageError: an image can't be read and isn't to be skipped.
            DataError: no image contains a part.
        """
        return self._supported(self.answers.align(dataset, models, aligning), "takes whole images: align can't be used there")

    def _supported(self, found: T | None, otherwise: str) -> T:
        if found is None:
            raise InputError(f"the task {self.name} {otherwise}")
        return found


def _filled(kind: type[Any], values: Mapping[str, Any], what: str, also: Sequence[str] = ()) -> Any:
    """Return an instance of a dataclass with these values.

    Raises:
        UnknownNameError: the dataclass has no such field; `also` lists further names to suggest.
    """
    known = [option.name for option in fields(kind)]
    for name in values:
        if name not in known:
            raise UnknownNameError(what, name, [*known, *also])
    return kind(**values)


TASKS: Registry[Task] = Registry("task", package="zoo.tasks", entry_points="zoo.tasks")


def get_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        UnknownNameError: no such task; the nearest names are listed.
    """
    return TASKS[name]


def open_data(data: object, task: str, *, on_error: OnError = "raise", say: Callable[[str], None] | None = None) -> Dataset:
    """Open a dataset.

    Args:
        data: a dataset string such as `"voc:bccd?split=test"`, a path whose format is recognised, or a sequence of samples.
        task: name of the task, which determines the formats and the targets.
        on_error: "raise" for one error that lists all faults in the annotations, or "skip" to skip faulty samples.
        say: callback that receives messages, such as the format recognised for a bare path.

    Returns:
        The dataset: a sequence of samples with `classes` (names by index), `records` (each with `key`, `path` and `target`) and
        `skipped` (the faults of what was skipped). Images are decoded when a sample is accessed.

    Raises:
        UnknownNameError: no such task or format.
        DataError: no samples are found, or the annotations contain faults and `on_error` is "raise".
        InputError: an unknown option, or a path whose format is ambiguous.

    Example:
        >>> import zoo
        >>> data = zoo.open_data("demo:digits?split=test", "classification")
        >>> len(data), data.classes[:3]
        (360, ('0', '1', '2'))
        >>> data.records[0].key, data.records[0].target
        ('digit-0000', 0)
    """
    return get_task(task).open(data, on_error, say)


def recipe(task: str, preset: str = "standard", **settings: Any) -> Recipe:
    """Return training settings for `zoo.train`.

    Args:
        task: name of the task.
        preset: "quick", "standard", "thorough", or the path of a TOML file such as a run's `recipe.toml`.
        **settings: settings to change, by name.

    Returns:
        A frozen dataclass; `dataclasses.replace` changes further settings.

    Raises:
        UnknownNameError: no such task, preset or setting.
        InputError: a value is invalid, or the file can't be read.

    Example:
        >>> import zoo
        >>> zoo.recipe("classification", "quick", epochs=3).epochs
        3
    """
    data = get_task(task).data
    return replace_settings(find_recipe(data.recipe, data.recipes, preset), settings, f"the task {task}")


def list_tasks() -> list[str]:
    """Return the names of all tasks.

    Example:
        >>> list_tasks()
        ['classification', 'detection', 'face']
    """
    return TASKS.names()
