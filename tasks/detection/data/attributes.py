"""Attributes of a dataset's objects: which there are, and their match with the attributes of a model."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import ATTRIBUTE, Dataset, Record
from zoo.errors import DataError, Fault, InputError
from zoo.system.wording import counted
from zoo.tasks.detection.attributes import Attributes
from zoo.tasks.detection.data.coco import NumberedDataset
from zoo.tasks.detection.data.targets import Target, as_target

_UNKNOWN = -1  # index of an unknown value
_NONE: NDArray[np.int64] = np.empty(0, np.int64)


def attributes_of(target: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the attributes of an image's objects by name, [N] each, as texts or indices; see `as_target`."""
    return {name.removeprefix(ATTRIBUTE): values for name, values in target.items() if name.startswith(ATTRIBUTE)}


def attribute_counts(targets: Iterable[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """Return the number of objects with each known value, by attribute name. Attributes that are matched to a model don't count."""
    counts: dict[str, Counter[str]] = {}
    for target in targets:
        for name, values in attributes_of(target).items():
            if values.dtype.kind == "U":
                counts.setdefault(name, Counter()).update(value for value in values.tolist() if value)
    return counts


def check_attributes(dataset: Dataset, attributes: Attributes) -> list[str]:
    """Return a note about attributes in training data that the model doesn't have; those with a single value aren't mentioned.

    Raises:
        InputError: no box has a value of one of the model's attributes. The message names the attributes in the data.
    """
    targets = [record.target for record in dataset.records if isinstance(record.target, Mapping)]
    counts = attribute_counts(targets)
    missing = [name for name in attributes if not any((target.get(f"{ATTRIBUTE}{name}", _NONE) != _UNKNOWN).any() for target in targets)]
    known = ", ".join(f"{name} ({', '.join(list(values)[:8])})" for name, values in counts.items() if len(values) > 1)
    if missing:
        raise InputError(
            f"data {dataset.name!r}: no box has a value of the attribute {', '.join(map(repr, missing))}, so it can't be learned. "
            f"Its other attributes are: {known or 'none'}. Correct the name, or leave it out of attributes= (--attributes)"
        )
    return [f"the data has attributes that the model ignores: {known}; --attributes declares attributes to predict"] if known else []


def attributes_matched(dataset: Dataset, attributes: Attributes) -> Dataset:
    """Return a dataset with indices of a model's values as attributes, -1 for unknown ones. Other attributes stay texts.

    Attributes and values are matched by name; their order doesn't matter. Every target has all attributes of the model.

    Raises:
        DataError: an object has a value that the model doesn't declare. The message lists the objects and the nearest declared values.
    """
    if not attributes:
        return dataset
    faults: list[Fault] = []
    places = {name: {value: index for index, value in enumerate(values)} for name, values in attributes.items()}
    file = f"{dataset.annotations.name}: " if isinstance(dataset, NumberedDataset) else ""
    records = [_matched(record, places, faults, file) for record in dataset.records]
    if faults:
        where = f" in {dataset.annotations}" if isinstance(dataset, NumberedDataset) else ""
        what = f"data {dataset.name!r}: {counted(len(faults), 'value')} of attributes{where} that the model doesn't declare:"
        raise DataError(what, faults, "Correct the annotations, or declare the values with attributes= (--attributes).")
    return replace(dataset, records=tuple(records))


def _matched(record: Record, places: Mapping[str, Mapping[str, int]], faults: list[Fault], file: str) -> Record:
    if record.target is None:
        return record
    target = as_target(record.target, record.key)
    for name, index in places.items():
        values = target.get(f"{ATTRIBUTE}{name}", np.full(len(target["boxes"]), ""))
        if values.dtype.kind != "U":  # already matched
            continue
        wanted = [index.get(value, _UNKNOWN) for value in values.tolist()]
        faults += _faults(record.key, target, name, values, index, file)
        target[f"{ATTRIBUTE}{name}"] = np.array(wanted, np.int64)
    return replace(record, target=target)


def _faults(key: str, target: Target, name: str, values: NDArray[Any], index: Mapping[str, int], file: str) -> Iterator[Fault]:
    ids: Sequence[int] | None = target["ids"].tolist() if "ids" in target else None
    for number, value in enumerate(values.tolist()):
        if value and value not in index:
            place = f"box {number + 1}" if ids is None else f"annotation id {ids[number]}"
            (near,) = difflib.get_close_matches(value, index, n=1, cutoff=0)
            reason = f"{file}{place}: the attribute {name!r} is {value!r}; the model declares {', '.join(index)}. Nearest: {near}"
            yield Fault(key, reason, kind="attribute-value", place=place)
