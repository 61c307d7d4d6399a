"""The `Task` class: everything that a task adds to a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import DataRef, matches
from zoo.data.formats import open_data as open_data_with
from zoo.errors import InputError, UnknownNameError, UnrecognisedError
from zoo.registry import Registry
from zoo.task.answers import Answers
from zoo.task.building import Building
from zoo.task.data import TaskData
from zoo.task.joint import find_joint_recipe, joint_settings
from zoo.task.operating import Decisions
from zoo.task.recipe import find_recipe, replace_settings
from zoo.task.scoring import Scoring

if TYPE_CHECKING:
    from zoo.task.answers import Aligned, Aligning, AnswerFiles, PartsFinder
    from zoo.task.building import TaskModel
    from zoo.task.combination import Combination
    from zoo.task.scoring import AttackProtocol

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A task, made up of four components.

    The methods parse options and raise an error if the task doesn't support a feature. A task whose models differ so much that they need
    other components, such as multi-label classification, is a subclass that overrides `variant`.

    Attributes:
        name: name of the task, as passed to `zoo.build(…, task=name)`.
        building: build options, preprocessing and head of the task's models.
        data: data formats, targets, training settings, augmentation and sampling.
        answers: conversion of model outputs to predictions, prediction files, and combination of predictions.
        scoring: metric, scoring options and attacks.
    """

    name: str
    building: Building
    data: TaskData
    answers: Answers
    scoring: Scoring

    def variant(self, options: Mapping[str, Any]) -> Task:
        """Return the task with the components for models with these build options. By default, it is the task itself.

        All variants of a task have the same name and the same build options.

        Args:
            options: values of build options by name; those that are missing have their defaults.
        """
        return self

    def takes_weights_of(self, other: Task) -> bool:
        """Return whether a head of this variant can be initialised with the weights of a head of another. By default, only of the same."""
        return self is other

    def open(self, data: object, on_error: OnError = "raise", say: Callable[[str], None] | None = None, pictures: bool = True) -> Dataset:
        """Open a dataset. This is the implementation of `zoo.open_data`.

        Args:
            data: a dataset string, a path, an open `Dataset` or a sequence of samples.
            on_error: "raise", or "skip" to skip invalid samples and record them in `Dataset.skipped`.
            say: callback that receives messages, such as the format recognised for a bare path.
            pictures: whether to require that the image files exist.

        Raises:
            DataError: the dataset has no samples, or the annotations contain errors and `on_error` is "raise".
            InputError: a format or option is unknown, or the format of a path is ambiguous.
        """
        try:
            return open_data_with(data, self.data.schemes, self.name, on_error, say, pictures)
        except UnrecognisedError as error:
            raise InputError(f"{error}{_hint(error.path)}") from None
        except UnknownNameError as error:
            error.args = (f"{error}{self._other_readers(data)}",)
            raise

    def _other_readers(self, data: object) -> str:
        """Return which tasks and variants read the format of a dataset string, as a sentence for error messages; "" if this one does."""
        scheme = DataRef.of(data).scheme if isinstance(data, str | Path) else ""
        if not scheme or scheme in self.data.schemes:
            return ""
        others = [f"the task {name} (--task {name})" for name in list_tasks() if scheme in get_task(name).data.schemes]
        others += [f"{self.name} with {self.data.variant_formats[scheme]}"] if scheme in self.data.variant_formats else []
        return f" {scheme}: is a format of {' and of '.join(others)}." if others else ""

    def parse_options(self, values: Mapping[str, Any]) -> Any:
        """Return the build options from keyword values, with all defaults filled in.

        Raises:
            UnknownNameError: the task has no such option.
            InputError: a value is invalid.
        """
        return self.building.settle(_filled(self.building.options, values, f"option of the task {self.name}:", ("freeze",)))

    def parse_scoring(self, values: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return all scoring options, with defaults for those not in `values`.

        Args:
            values: scoring options by name.
            metadata: metadata of each model, because defaults may depend on it. Empty for predictions from a file.

        Raises:
            UnknownNameError: a scoring option or its value is unknown.
            InputError: a value is invalid.
        """
        return self.scoring.settle(asdict(_filled(self.scoring.options, values, f"scoring option of the task {self.name}:")), metadata)

    def answer_files(self) -> AnswerFiles:
        """Return the reader and writer of prediction files.

        Raises:
            InputError: the task doesn't support prediction files.
        """
        return self._supported(self.answers.files(), "doesn't support prediction files")

    def combination(self, metadata: Sequence[Mapping[str, Any]] = ()) -> Combination:
        """Return the object that combines the predictions of several models or views.

        Raises:
            InputError: the task can't combine predictions.
        """
        found = self.answers.combination(metadata)
        return self._supported(found, "can't combine predictions; evaluate one model at a time, without test-time augmentation")

    def decisions(self, metric: Any, classes: tuple[str, ...], options: Mapping[str, Any], positive: str | None) -> Mapping[str, Decisions]:
        """Return the decisions of a model that depend on thresholds, by class or use. The arguments are those of `Scoring.decisions`.

        Raises:
            InputError: the task or model has no operating point, or `positive` is set for other than two exclusive classes.
        """
        found = self._supported(
            self.scoring.decisions(metric, classes, options, positive), "has no operating point: no threshold affects its predictions"
        )
        if positive is not None and [*found] != [positive]:
            raise InputError(f"positive is {positive!r}, but the model has a threshold for each of {', '.join(found)}; omit it")
        return found

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol:
        """Return the protocol for an evaluation under attack. The arguments are those of `Scoring.attack_protocol`.

        Raises:
            InputError: the task doesn't support attacks, or the dataset contains nothing that can be attacked.
        """
        return self._supported(self.scoring.attack_protocol(dataset, classes, pairs, seed, **options), "doesn't support attacks")

    def parts(self, model: TaskModel, detector: object, faces: str) -> PartsFinder | None:
        """Return the detector of the image regions, such as faces, that a model processes; None if it processes whole images.

        Raises:
            InputError: the task or model doesn't support the detector or the choice of faces.
        """
        if type(self.answers).parts is Answers.parts:
            for name, given in (("detector", detector is not None), ("faces", faces != "all")):
                if given:
                    raise InputError(f"{name}: not supported by the task {self.name}, whose models process whole images; omit this option")
        return self.answers.parts(model, detector, faces)

    def align(self, dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned:
        """Crop and align the regions that the models process, such as faces, in all images of a dataset.

        The arguments are those of `Answers.align`.

        Raises:
            InputError: the task or a model doesn't support alignment.
            ImageError: an image can't be read, and `aligning.skip` is False.
            DataError: no region was detected in any image.
        """
        return self._supported(self.answers.align(dataset, models, aligning), "processes whole images and doesn't support align")

    def _supported(self, found: T | None, otherwise: str) -> T:
        if found is None:
            raise InputError(f"the task {self.name} {otherwise}")
        return found


def _hint(path: Path) -> str:
    """Return which task recognises a path, as a sentence for error messages; "" if none does."""
    for name in list_tasks():
        for scheme, reason in matches(path, get_task(name).data.schemes).items():
            return f". The task {name} recognises it as {scheme}, because {reason}: choose this task with --task {name}"
    return ""


def _filled(kind: type[Any], values: Mapping[str, Any], what: str, also: Sequence[str] = ()) -> Any:
    """Return an instance of the dataclass `kind` with these values.

    Raises:
        UnknownNameError: a name isn't a field of the dataclass. The message suggests its fields and the names in `also`.
    """
    known = [option.name for option in fields(kind)]
    for name in values:
        if name not in known:
            raise UnknownNameError(what, name, [*known, *also])
    return kind(**values)


TASKS: Registry[Task] = Registry("task", package="zoo.tasks", entry_points="zoo.tasks")


def get_task(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """Return a task by name, in the variant for models with these build options. For a model, use `Model.definition`.

    Raises:
        UnknownNameError: the task is unknown. The message lists similar names.
    """
    return TASKS[name].variant(options or {})


def open_data(data: object, task: str, *, on_error: OnError = "raise", say: Callable[[str], None] | None = None, **options: Any) -> Dataset:
    """Open a dataset.

    Args:
        data: a dataset string such as `"voc:bccd?split=test"`, a path in a recognised format, or a sequence of samples.
        task: name of the task, which determines the supported formats and the type of the targets.
        on_error: "raise" to raise one error that lists all annotation errors, or "skip" to skip invalid samples.
        say: callback that receives messages, such as the format recognised for a bare path.
        **options: options of the models that the data is for, as in `zoo.build`. They matter if they change the targets, as `multi_label`.

    Returns:
        The dataset: a sequence of samples with `classes` (names by index), `records` (each with `key`, `path` and `target`) and
        `skipped` (one error for each skipped sample or annotation). Images are decoded when a sample is accessed.

    Raises:
        UnknownNameError: the task or format is unknown.
        DataError: the dataset has no samples, or the annotations contain errors and `on_error` is "raise".
        InputError: an option is unknown or invalid, or the format of a path is ambiguous.

    Example:
        >>> import zoo
        >>> data = zoo.open_data("demo:digits?split=test", "classification")
        >>> len(data), data.classes[:3]
        (360, ('0', '1', '2'))
        >>> data.records[0].key, data.records[0].target
        ('digit-0000', 0)
    """
    get_task(task).parse_options(options)
    return get_task(task, options).open(data, on_error, say)


def recipe(task: str | Sequence[str] | Mapping[str, str], preset: str = "standard", **settings: Any) -> Any:
    """Return training settings for `zoo.train`.

    Args:
        task: name of the task. For a model with several heads, a sequence of tasks, or a mapping from head name to task, as in `zoo.build`.
        preset: "quick", "standard", "thorough", or the path of a TOML file, such as the `recipe.toml` of an earlier run.
        **settings: settings that override the preset, by name. With several heads, a setting of heads applies to all heads whose task has
            it, unless its value is a mapping from head name to value.

    Returns:
        A frozen dataclass: a `Recipe`, or a `JointRecipe` for several heads. Use `dataclasses.replace` to change further settings.

    Raises:
        UnknownNameError: the task, preset, head or a setting is unknown.
        InputError: a value is invalid, or the file can't be read.

    Example:
        >>> import zoo
        >>> zoo.recipe("classification", "quick", epochs=3).epochs
        3
        >>> joint = zoo.recipe({"species": "classification", "parts": "detection"}, lr=1e-4, flip={"parts": 0.0}, loss_weights={"parts": 2})
        >>> joint.heads["parts"].flip, joint.heads["species"].flip, joint.loss_weights
        (0.0, 0.5, 'parts=2')
    """
    if not isinstance(task, str):
        tasks = dict(task) if isinstance(task, Mapping) else {name: name for name in task}
        components = {name: get_task(kind).data for name, kind in tasks.items()}
        joint = find_joint_recipe({name: (data.recipe, data.recipes) for name, data in components.items()}, preset)
        return joint_settings(joint, settings, "the recipe")
    data = get_task(task).data
    return replace_settings(find_recipe(data.recipe, data.recipes, preset), settings, f"the task {task}")


def list_tasks() -> list[str]:
    """Return the names of all tasks.

    Example:
        >>> list_tasks()
        ['classification', 'detection', 'face']
    """
    return TASKS.names()
