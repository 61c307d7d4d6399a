"""Match classes by name, between a dataset and a model, and between the models of an ensemble; and the names of ImageNet's classes."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence

from torchvision.models import ResNet50_Weights

from zoo.data.classes import unnamed
from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.task.contract import Task

_SYNSET = re.compile(r"n\d{8}")


@functools.cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return ImageNet's synsets as WordNet ids ("n01440764", …), which are the names of its folders, in the order of a classifier."""
    from timm.data import ImageNetInfo  # large tables, rarely needed

    return tuple(ImageNetInfo("imagenet-1k").label_names())


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the class names of torchvision's ImageNet weights. If two classes have the same name, their synsets are appended."""
    names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({synset})" for name, synset in zip(names, imagenet_synsets(), strict=True))


def match_classes(task: Task, dataset: Dataset, classes: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """Return a dataset with the class indices of a model as labels, and the class names to report.

    Classes are matched by name. Classes that are named after ImageNet's synsets match a model with ImageNet's classes. If the model has no
    class names, and as many classes as the dataset, classes are matched by order. The dataset may have fewer classes than the model.

    Raises:
        InputError: the dataset has a class that the model doesn't have, or a target isn't suitable for the task's models.
    """
    matched, names = _matched(task, dataset, classes)
    return task.data.checked(matched, names), names


def _matched(task: Task, dataset: Dataset, classes: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    theirs = dataset.classes
    if task.data.open_set or not theirs or theirs == classes:
        return dataset, classes
    position = {name: index for index, name in enumerate(classes)}
    named_by_synset = not position.keys() >= set(theirs) and all(_SYNSET.fullmatch(name) for name in theirs)
    if named_by_synset and classes in (imagenet_classes(), unnamed(1000)):
        position = {synset: index for index, synset in enumerate(imagenet_synsets())}
    if position.keys() >= set(theirs):
        return task.data.relabel(dataset, [position[name] for name in theirs], classes), classes
    if classes == unnamed(len(classes)) and len(theirs) == len(classes):
        return dataset, theirs
    unknown = [name for name in theirs if name not in position]
    raise InputError(
        f"data {dataset.name!r}: {len(unknown)} of its {len(theirs)} classes are unknown to the model ({', '.join(unknown[:8])}); "
        f"the model has {len(classes)}: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}. "
        "Select the classes to keep with classes=, or train the model on this data"
    )


def common_classes(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the common class names of an ensemble, which are those of the first model that has class names."""
    return next((classes for classes in names if classes != unnamed(len(classes))), names[0])


def new_index(which: str, theirs: tuple[str, ...], classes: tuple[str, ...]) -> list[int] | None:
    """Return the index of each class of an ensemble's model among the common classes; None if the order is the same.

    Classes are matched by name. If the model has no class names, but the common number of classes, they are matched by order.
    """
    if theirs == classes:
        return None
    lacking, strange = sorted(set(classes) - set(theirs)), sorted(set(theirs) - set(classes))
    if theirs == unnamed(len(classes)) and strange:
        return None
    if lacking or strange:
        parts = [f"{words} {', '.join(found[:8])}" for words, found in (("lacks", lacking), ("additionally has", strange)) if found]
        raise InputError(
            f"ensemble: {which} has {len(theirs)} classes where the others have {len(classes)}: it {' and '.join(parts)}. "
            "The models of an ensemble must have the same classes"
        )
    return [classes.index(name) for name in theirs]
