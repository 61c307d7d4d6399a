"""Training data of a model's heads: one stream of batches for each dataset and each pass through the backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo.data.dataset import Dataset, Sample
from zoo.data.loader import Reading
from zoo.data.sampling import Sampling
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.system.progress import Progress
from zoo.task.contract import Task
from zoo.task.head import AnyImages
from zoo.task.recipe import Recipe
from zoo.training.mixing import TrainingSource


@dataclass(frozen=True)
class HeadData:
    """Data of one head, and how it is trained.

    Attributes:
        name: name of the head.
        task: its task.
        classes: its class names by index.
        recipe: its recipe.
        preprocess: its preprocessing of images.
        dataset: its training data, relabelled.
        validation: its validation data, relabelled; None for no validation.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    recipe: Recipe
    preprocess: Preprocess
    dataset: Dataset
    validation: Dataset | None


@dataclass(frozen=True)
class Stream:
    """A training dataset and the heads that it labels, which all use the same pass through the backbone.

    The recipe of the first head determines batch size, sampling and augmentation. The augmentation changes the image and the target of the
    first head; the targets of the others are unchanged.

    Attributes:
        heads: the heads whose targets are used.
        lead: the first head. It isn't among `heads` if another head is trained alone on the same batches.
        dataset: the samples. If the dataset labels several heads, the targets are dicts by head name.
        several: whether it labels several heads.
    """

    heads: tuple[HeadData, ...]
    lead: HeadData
    dataset: Dataset
    several: bool

    @classmethod
    def of(cls, heads: Sequence[HeadData], progress: Progress) -> Stream:
        """Create the stream of heads whose datasets contain the same samples.

        Augmentations that mix several images are switched off if there are several heads, because the targets of the other heads would no
        longer match. This is reported to `progress`.

        Raises:
            InputError: several of the heads have coordinates, or the keys of the samples differ.
        """
        if len(heads) == 1:
            return cls((heads[0],), heads[0], heads[0].dataset, several=False)
        names = [head.name for head in _leading(heads)]
        lead, *others = (_in_order(head, heads) for head in _leading(heads))
        lost = max(len(head.dataset) for head in heads) - len(lead.dataset)
        if lost:
            progress.say(f"data {lead.dataset.name!r}: {lost} samples are left out, because the target of a head was skipped")
        mixing = {name: type(value)(0) for name in lead.task.data.mixing if (value := getattr(lead.recipe, name))}
        if mixing:
            lead = replace(lead, recipe=replace(lead.recipe, **mixing))
            progress.say(
                f"{lead.name}: {', '.join(mixing)} is switched off, because its images also have targets of {', '.join(names[1:])}"
            )
        found = (lead, *others)
        targets = [dict(zip(names, parts, strict=True)) for parts in zip(*(_targets(head.dataset) for head in found), strict=True)]
        records = (replace(record, target=target) for record, target in zip(lead.dataset.records, targets, strict=True))
        return cls(found, lead, replace(lead.dataset, records=tuple(records)), several=True)

    def only(self, name: str) -> Stream:
        """Return the same batches with the targets of one head."""
        return replace(self, heads=tuple(head for head in self.heads if head.name == name))

    def with_recipes(self, recipes: Mapping[str, Recipe]) -> Stream:
        """Return the stream with other recipes of its heads, by head name."""
        heads = tuple(replace(head, recipe=recipes[head.name]) for head in self.heads)
        return replace(self, heads=heads, lead=next(head for head in heads if head.name == self.lead.name))

    def sampling(self, processes: int, smallest: int) -> Sampling:
        """Return the sampler of the batches of all processes together, which have at least `smallest` samples."""
        if len(self.dataset) < smallest:
            raise InputError(f"dataset {self.dataset.name!r} has {len(self.dataset)} samples; training needs at least 2 per process")
        recipe = self.lead.recipe
        return self.lead.task.data.sampling(recipe, self.lead.dataset, recipe.batch_size * processes, smallest)

    def source(self, reading: Reading) -> TrainingSource:
        """Return the dataset with its augmentation and preprocessing."""
        data, recipe = self.lead.task.data, self.lead.recipe
        preprocess = data.training_preprocess(recipe, self.lead.preprocess)
        augment = data.augment(recipe, preprocess, self.lead.dataset)
        whole = LeadAugmentation(self.lead.name, augment) if self.several else augment
        return TrainingSource(self.dataset, preprocess, whole, reading.decoding(data.training_min_size_hw(recipe, preprocess)))

    def targets(self, targets: Sequence[Any]) -> dict[str, Any]:
        """Return the targets of a batch for the loss, on the CPU, by head name, including those of the first head."""
        found = {}
        for head in {head.name: head for head in (self.lead, *self.heads)}.values():
            own = [target[head.name] for target in targets] if self.several else targets
            found[head.name] = head.task.data.collate_targets(own)
        return found

    def mixed(self, images: AnyImages, targets: Mapping[str, Any]) -> tuple[AnyImages, dict[str, Any]]:
        """Apply the augmentation of whole batches, and label smoothing, to a batch on the device.

        Pooled features are not augmented.
        """
        data, found = self.lead.task.data, dict(targets)
        if isinstance(images, ImageBatch):
            classes = len(self.lead.classes)
            images, found[self.lead.name] = data.mix(self.lead.recipe, images, targets[self.lead.name], classes)
        for head in self.heads:
            if head.name != self.lead.name or not isinstance(images, ImageBatch):
                found[head.name] = head.task.data.soften(head.recipe, targets[head.name], len(head.classes))
        return images, {head.name: found[head.name] for head in self.heads}


@dataclass(frozen=True)
class LeadAugmentation:
    """Augmentation of a sample with targets by head name, which changes the image and the target of one head."""

    name: str
    augment: Callable[[Sample], Sample]

    def __call__(self, sample: Sample) -> Sample:
        """Return the augmented sample."""
        changed = self.augment(replace(sample, target=sample.target[self.name]))
        return replace(changed, target={**sample.target, self.name: changed.target})


def _targets(dataset: Dataset) -> list[Any]:
    return [record.target for record in dataset.records]


def _leading(heads: Sequence[HeadData]) -> list[HeadData]:
    """Return the heads, starting with the one whose targets have coordinates, if any."""
    placed = [head for head in heads if head.task.answers.localises]
    if len(placed) > 1:
        names = " and ".join(repr(head.name) for head in placed)
        raise InputError(
            f"the heads {names} have targets with coordinates and share the data {placed[0].dataset.name!r}, but augmentation can change "
            f"the coordinates of only one of them; pass the data separately for each (--data {placed[0].name}=… --data {placed[1].name}=…)"
        )
    return [*placed, *(head for head in heads if head not in placed)]


def _in_order(head: HeadData, heads: Sequence[HeadData]) -> HeadData:
    """Return a head whose samples are those that all heads have, in the order of the first head. Raise an `InputError` if others differ.

    Samples that were skipped because of errors in the annotations of some head may differ.
    """
    keys = {other.name: {*other.dataset.keys} for other in heads}
    common = set.intersection(*keys.values())
    for other in heads:
        lacking = sorted(set().union(*keys.values()) - keys[other.name])
        if lacking and not any(each.dataset.skipped for each in heads):
            raise InputError(
                f"data {other.dataset.name!r}: {len(lacking)} samples have no target of the head {other.name!r}, such as {lacking[0]!r}; "
                "heads with the same data need the same samples. Pass the data of each head separately (--data NAME=…)"
            )
    records = {record.key: record for record in head.dataset.records}
    ordered = tuple(records[key] for key in heads[0].dataset.keys if key in common)
    return replace(head, dataset=replace(head.dataset, records=ordered))
