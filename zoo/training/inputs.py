"""Open and check the data of a training run, before its first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo.backbones import frozen_stages
from zoo.data.dataset import Dataset
from zoo.data.loader import Reading
from zoo.errors import DataError, InputError
from zoo.images.decoding import Decoding
from zoo.models.classes import match_classes
from zoo.models.heads import head_data
from zoo.models.model import Model
from zoo.models.passes import differences
from zoo.system.processes import Processes
from zoo.system.progress import Progress
from zoo.task.answers import Aligning
from zoo.task.joint import JointRecipe
from zoo.task.recipe import Recipe, RunRecipe
from zoo.training.batches import RunData
from zoo.training.recipes import chosen_recipe, recipes_of, settle_batch_size, settle_epochs
from zoo.training.streams import HeadData, Stream


@dataclass(frozen=True)
class Inputs:
    """Opens the data of a run.

    Attributes:
        model: the model to train.
        processes: the processes of the run.
        reading: how images are read.
        detector: detector with which images are aligned; None for no alignment.
    """

    model: Model
    processes: Processes
    reading: Reading
    detector: object = None

    def opened(self, data: object, val: object, recipe: RunRecipe | None) -> tuple[RunData, RunRecipe]:
        """Return the inputs of the run, and the recipe before it is adapted to the data.

        The arguments are those of `zoo.train`.
        """
        names = [*self.model.config.heads]
        groups = data_groups(names, data)
        trained = [name for name in names if any(name in group for group, _ in groups)]
        chosen = chosen_recipe(self.model, trained, recipe)
        self._check_others(trained, chosen)
        found = {} if val is None else {name: _own(value, name) for name, value in head_data(names, val, "val").items()}
        for name in found:
            if name not in trained:
                raise InputError(f"val has data of the head {name!r}, which isn't trained; omit it, or pass data={{{name!r}: …}} as well")
        sources = {name: _own(value, name) for group, value in groups for name in group}
        heads: dict[str, HeadData] = {}
        aligned: dict[str, Any] = {}
        for name in trained:
            heads[name], how = self._head(name, sources[name], found.get(name), chosen)
            aligned |= {} if how is None else {name: how}
        if self.detector is not None and not aligned:
            raise InputError(
                f"align: no head of the model ({', '.join(names)}) has an alignment template; use a face model built with "
                'an alignment, e.g. alignment="arcface" (--alignment arcface)'
            )
        streams = [stream for group, _ in groups for stream in self._streams([heads[name] for name in group])]
        streams.sort(key=lambda stream: min(names.index(head.name) for head in stream.heads))  # not by the order of the arguments
        settled = self._settled(chosen, streams)
        ready = tuple(stream.with_recipes(recipes_of(settled, trained)) for stream in streams)
        alignment = (aligned if self.model.is_joint else next(iter(aligned.values()))) if aligned else None
        return RunData(self.model, ready, settled, self.processes, self.reading, alignment), chosen

    def _check_others(self, trained: Sequence[str], recipe: RunRecipe) -> None:
        """Raise an `InputError` if training the backbone would change the predictions of heads without data."""
        others = [name for name in self.model.config.heads if name not in trained]
        if not others:
            return
        stages, what = self.model.backbone.stages(), recipe.freeze if recipe.freeze is not None else self.model.config.freeze
        whole = frozen_stages(self.model.backbone, what)[0] == len(stages)
        listed = ", ".join(others)
        if not whole or recipe.unfreeze_every:
            raise InputError(
                f"no data for {listed}, whose predictions would change because the backbone is trained; pass data "
                f"(--data {others[0]}=…), or freeze the backbone for the whole run (--freeze trunk)"
            )
        self.reading.progress.say(f"no data for {listed}: not trained, so their predictions don't change")

    def _head(self, name: str, data: object, val: object, recipe: RunRecipe) -> tuple[HeadData, dict[str, Any] | None]:
        """Return the opened and aligned data of a head, and a description of the alignment with the keys "data" and "val"."""
        config = self.model.config.heads[name]
        task = config.definition
        own = task.data.suit(recipes_of(recipe, [name])[name], task.parse_options(config.options))
        dataset = self._open(name, data)
        validation = None if val is None else self._open(name, val, closed=not task.data.open_set)
        head, how = HeadData(name, task, config.classes, own, config.preprocess, dataset, validation), None
        if self.detector is not None and (config.preprocess.alignment is not None or not self.model.is_joint):
            head, how = self._aligned(head)
        _check_classes(head, self.reading.progress)
        for note in task.data.check_training(head.dataset):
            self.reading.progress.say(f"data {head.dataset.name!r}: {note}")
        return head, how

    def _open(self, name: str, data: object, closed: bool = True) -> Dataset:
        config, progress = self.model.config.heads[name], self.reading.progress
        task = config.definition
        opened = task.open(data, self.reading.on_error, progress.say)
        for fault in opened.skipped:
            progress.say(f"skipped: {fault}")
        if not closed:
            return opened
        if task.data.open_set and opened.classes and len(opened.classes) != len(config.classes):
            raise InputError(
                f"dataset {opened.name!r} has {len(opened.classes)} classes, but the model was built for {len(config.classes)}; "
                "build the model with the classes of the dataset (classes=)"
            )
        return match_classes(task, opened, config.classes)[0]

    def _aligned(self, head: HeadData) -> tuple[HeadData, dict[str, Any]]:
        """Return a head with aligned training and validation data, and a description of detector and settings.

        Images in which nothing to align is detected are skipped. In training data, they raise an error unless `on_error` is "skip".
        """
        task, reading = head.task, self.reading
        if head.preprocess.alignment is None:
            raise InputError(
                f"align: the model (task {task.name}) has no alignment template; use a face model built with "
                'an alignment, e.g. alignment="arcface" (--alignment arcface)'
            )
        skip, view = reading.on_error == "skip", self.model.view(head.name)
        way = Aligning(
            self.detector, Decoding(max_pixels=reading.max_pixels), skip, reading.progress, self.processes.rank, self.processes.count
        )
        aligned = task.align(head.dataset, [view], way)
        if aligned.not_found and not skip:
            raise DataError(
                f"data {head.dataset.name!r}: nothing to align was detected in {len(aligned.not_found)} of {len(head.dataset)} images:",
                aligned.not_found,
                'Skip them with --skip-bad (on_error="skip").',
            )
        for fault in aligned.left_out:
            reading.progress.say(f"skipped: {fault}")
        details = {"data": dict(aligned.details)}
        head = replace(head, dataset=replace(aligned.dataset, skipped=(*head.dataset.skipped, *aligned.left_out)))
        if head.validation is not None:
            aligned = task.align(head.validation, [view], way)
            details["val"] = dict(aligned.details)
            head = replace(head, validation=replace(aligned.dataset, skipped=(*head.validation.skipped, *aligned.left_out)))
        return head, details

    def _streams(self, heads: Sequence[HeadData]) -> list[Stream]:
        """Return the streams of the heads that a dataset labels: one for each pass through the backbone."""
        by_name, ways = {head.name: head for head in heads}, self.model.passes([head.name for head in heads])
        if len(ways) > 1:
            self.reading.progress.say(
                f"the images of {heads[0].dataset.name!r} are read once for each of {len(ways)} ways of preprocessing ({differences(ways)})"
            )
        return [Stream.of([by_name[name] for name in way.heads], self.reading.progress) for way in ways]

    def _settled(self, recipe: RunRecipe, streams: Sequence[Stream]) -> RunRecipe:
        """Return the recipe with batch sizes and number of epochs adapted to the data."""
        count, progress = self.processes.count, self.reading.progress
        own: dict[str, Recipe] = {head.name: head.recipe for stream in streams for head in stream.heads}
        steps = 0.0
        for stream in streams:
            lead = stream.lead
            own[lead.name] = fitting = settle_batch_size(lead.recipe, len(stream.dataset), count, lead.task.data.recipes, progress)
            steps += len(stream.dataset) / (fitting.batch_size * count * recipe.grad_accumulation)
        return settle_epochs(replace(recipe, heads=own) if isinstance(recipe, JointRecipe) else next(iter(own.values())), steps)


def data_groups(heads: Sequence[str], data: object) -> list[tuple[tuple[str, ...], object]]:
    """Return the names of the heads that each dataset labels, and the dataset. The arguments and errors are those of `head_data`."""
    head_data(heads, data)
    if not isinstance(data, Mapping):
        return [(tuple(heads), data)]
    return [(tuple(part.strip() for part in (key.split(",") if isinstance(key, str) else key)), value) for key, value in data.items()]


def _own(value: object, name: str) -> object:
    """Return the data of a head, from data that is the same for all heads or a mapping from head name."""
    if isinstance(value, Mapping):
        if name not in value:
            raise InputError(f"data: the mapping for several heads has no entry for {name!r}; it has {', '.join(map(str, value))}")
        return value[name]
    return value


def _check_classes(head: HeadData, progress: Progress) -> None:
    """Check that non-empty classes have at least `min_samples` samples, and list classes with too few samples to learn or score."""
    task, dataset, validation = head.task, head.dataset, head.validation
    counts = Counter(label for record in dataset.records for label in set(task.data.labels(record.target)))
    least = head.recipe.min_samples
    few = [f"{name} ({counts[index]})" for index, name in enumerate(dataset.classes) if 0 < counts[index] < least]
    if few and max(counts.values()) > 1:
        raise InputError(
            f"dataset {dataset.name!r} has classes with fewer than {least} samples: {_listed(few)}; add samples, remove "
            "these classes, or set min_samples to 1 (--min-samples 1)"
        )
    for count, words in ((0, "no samples: nothing can be learned"), (1, "only one sample: little can be learned")):
        _say(dataset, [name for index, name in enumerate(dataset.classes) if counts[index] == count], words, progress)
    if validation is not None and not task.data.open_set:  # open-set tasks validate on other identities
        shown = {label for record in validation.records for label in task.data.labels(record.target)}
        lacking = [name for index, name in enumerate(validation.classes) if index not in shown]
        _say(validation, lacking, "no samples: not included in the validation scores", progress)


def _say(dataset: Dataset, classes: Sequence[str], words: str, progress: Progress) -> None:
    """Print a message about classes, if there are any. `words` follows "has" or "have" in the message."""
    if classes:
        progress.say(f"data {dataset.name!r}: {_listed(classes)} {'have' if len(classes) > 1 else 'has'} {words}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
