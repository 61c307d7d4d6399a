"""The classes of data, and of the models of an ensemble, matched by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zoo.data.classes import unnamed
from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.task.contract import Task


def match_classes(task: Task, dataset: Dataset, classes: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data with its labels counted as the model counts its classes, and the names to report them under.

    Classes are matched by name; ImageNet's folders by synset; a model whose classes have no names by order, where the number
    is the same. Data with fewer classes than the model is fine.

    Raises:
        InputError: the data has classes that the model doesn't know.
    """
    theirs = dataset.classes
    if task.open_set or not theirs or theirs == classes:
        return dataset, classes
    position = {name: index for index, name in enumerate(classes)}
    if not position.keys() >= set(theirs) and all(_SYNSET.fullmatch(name) for name in theirs):
        position = _by_synset(classes) or position
    if position.keys() >= set(theirs):
        return task.relabel(dataset, [position[name] for name in theirs], classes), classes
    if classes == unnamed(len(classes)) and len(theirs) == len(classes):
        return dataset, theirs
    unknown = [name for name in theirs if name not in position]
    raise InputError(
        f"data {dataset.name!r}: {len(unknown)} of its {len(theirs)} classes are unknown to the model ({', '.join(unknown[:8])}); "
        f"the model has {len(classes)}: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}. "
        "Choose with classes= which to keep, or train the model on this data"
    )


_SYNSET = re.compile(r"n\d{8}")


def _by_synset(classes: tuple[str, ...]) -> dict[str, int]:
    from zoo.models.weights.imagenet import imagenet_classes, imagenet_synsets  # large tables, rarely needed

    same = classes in (imagenet_classes(), unnamed(1000))
    return {synset: index for index, synset in enumerate(imagenet_synsets())} if same else {}


def common_classes(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes that models count together: those of the first model whose classes have names."""
    return next((classes for classes in names if classes != unnamed(len(classes))), names[0])


def new_index(which: str, theirs: tuple[str, ...], classes: tuple[str, ...]) -> list[int] | None:
    """Return under which of the common classes each of a model's counts; None where it counts as they do.

    Classes are matched by name; those of a model without names by order, where the number is the same.

    Args:
        which: the model, for the message.
        theirs: the model's classes.
        classes: the common ones.

    Raises:
        InputError: the model lacks a class, or has one that the others don't.
    """
    if theirs == classes:
        return None
    lacking, strange = sorted(set(classes) - set(theirs)), sorted(set(theirs) - set(classes))
    if theirs == unnamed(len(classes)) and strange:
        return None
    if lacking or strange:
        parts = [f"{words} {', '.join(found[:8])}" for words, found in (("lacks", lacking), ("adds", strange)) if found]
        raise InputError(
            f"ensemble: {which} has {len(theirs)} classes where the others have {len(classes)}: it {' and '.join(parts)}. "
            "The models of an ensemble must know the same classes"
        )
    return [classes.index(name) for name in theirs]
