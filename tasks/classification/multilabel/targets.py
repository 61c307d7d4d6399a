"""Targets of multi-label classification: one number per class, 1 if the class occurs in the image, 0 if it doesn't, NaN if unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, Fault, InputError
from zoo.system.wording import counted

Target = NDArray[np.float32]
# values in tables, in lower case
VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "": np.nan, "nan": np.nan}


def as_target(value: Any, count: int, key: str) -> Target:
    """Convert the target of the image `key` to float32 [count] with the values 1, 0 and NaN.

    A class index, the target of data with one class per image, becomes 1 for this class and 0 for all others. None in a list is unknown.

    Raises:
        InputError: the target has another length or another value.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if not 0 <= value < count:
            raise InputError(f"{key}: its class is {value}; expected a whole number from 0 to {count - 1}")
        return np.asarray(np.arange(count) == value, np.float32)
    try:
        target = np.array(value, np.float32)
    except (TypeError, ValueError):
        target = np.zeros(0, np.float32)
    if value is None or target.shape != (count,):
        shown = f"of shape {target.shape}" if target.ndim and target.size else repr(value)
        raise InputError(f"{key}: its target is {shown}; expected {count} numbers, one per class: 1, 0 or NaN (unknown)")
    wrong = np.flatnonzero(~(np.isnan(target) | (target == 0) | (target == 1)))
    if len(wrong):
        raise InputError(f"{key}: the target of class {wrong[0]} is {target[wrong[0]]:g}; expected 1, 0 or NaN (unknown)")
    return target


def moved(target: Target, new_index: Sequence[int | None], count: int) -> Target:
    """Return a target for `count` classes: class i gets the index new_index[i], or is dropped if that is None; others are unknown."""
    found = np.full(count, np.nan, np.float32)
    for value, index in zip(target, new_index, strict=True):
        if index is not None:
            found[index] = value
    return found


def keep_classes(records: Sequence[Record], new_index: Sequence[int | None]) -> list[Record]:
    """Return all records with the targets of the kept classes only, for the option `classes` of dataset strings."""
    count = sum(index is not None for index in new_index)
    return [replace(record, target=moved(record.target, new_index, count)) for record in records]


def converted(dataset: Dataset, count: int | None = None) -> Dataset:
    """Return a dataset whose targets are those of `as_target` for `count` classes; None for the dataset's own classes.

    Raises:
        DataError: targets have another length or another value. The message lists them.
    """
    count, records, faults = len(dataset.classes) if count is None else count, list[Record](), list[Fault]()
    for each in dataset.records:
        try:
            records.append(replace(each, target=as_target(each.target, count, each.key)))
        except InputError as error:
            faults.append(Fault(each.key, str(error).removeprefix(f"{each.key}: "), whole=True, kind="unknown-label"))
    if faults:
        what = f"data {dataset.name!r}: {counted(len(faults), 'target')} that multi-label models can't be trained on or scored with:"
        raise DataError(what, faults)
    return replace(dataset, records=tuple(records))
