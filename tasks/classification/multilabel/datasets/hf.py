"""The `hf:` format: a Hugging Face dataset with a column of lists of labels, one column per class, or one class per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, finish
from zoo.errors import Fault, InputError
from zoo.tasks.classification.datasets import SCHEMES as ONE_LABEL
from zoo.tasks.classification.datasets.csv import sorted_labels
from zoo.tasks.classification.datasets.hf import image_column, is_label, is_list, label_name, open_table, read_columns, read_one_label
from zoo.tasks.classification.multilabel.datasets import SCHEMES
from zoo.tasks.classification.multilabel.targets import VALUES, converted, keep_classes

if TYPE_CHECKING:
    from datasets import Dataset as Table


def open_hf(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a Hugging Face dataset, whose images are those of classification with one class per image.

    A column of lists contains the classes that occur in each image, and all others don't; `label=` selects one of several. The classes are
    those of the column's class labels, or its text or integers, sorted. Without lists and class labels, two or more columns of integers,
    booleans or fractions are one class each: 1 if it occurs, 0 if it doesn't, null if that is unknown; `classes=` selects the columns if
    the table has others. Other datasets have one class per image: it is 1, and all others are 0.
    """
    table, given = open_table(ref), ref.options.get("label")
    lists = [name for name, feature in table.features.items() if is_list(feature)]
    if given is None and len(lists) > 1:
        raise InputError(f"data {ref.text!r}: the labels could be {', '.join(lists)}; select the column with label=")
    if lists and given in (None, *lists):
        return _of_lists(ref, table, lists[0] if given is None else given, on_error)
    columns = _class_columns(table, ref.classes) if given is None else []
    if columns:
        return _of_columns(ref, table, columns, on_error)
    return converted(read_one_label(ref, table, on_error))


def _class_columns(table: Table, chosen: Sequence[str] | None) -> list[str]:
    """Return the columns of numbers, at least two, that are one class each; empty if the table has a column of class labels or text."""
    kinds = {name: str(getattr(feature, "dtype", "")) for name, feature in table.features.items()}
    numbers = [name for name, kind in kinds.items() if kind == "bool" or kind.startswith(("int", "uint", "float"))]
    if chosen is not None and set(chosen) <= set(numbers):
        return [name for name in numbers if name in chosen and not hasattr(table.features[name], "names")]
    labelled = any(is_label(feature) and (hasattr(feature, "names") or name not in numbers) for name, feature in table.features.items())
    return [] if labelled or len(numbers) < 2 else numbers


def _of_lists(ref: DataRef, table: Table, column: str, on_error: OnError) -> Dataset:
    encoded, values = read_columns(ref, table, image_column(ref, table), [column])
    feature: Any = table.features[column]
    names: list[str] | None = getattr(feature.feature, "names", None)
    found = sorted_labels({str(each) for row in values[column] for each in row or () if each not in (None, "")})
    classes = found if names is None else names
    number = {name: index for index, name in enumerate(classes)}
    records, faults = [], []
    for index, row in enumerate(values[column]):
        labels = None if row is None else [label_name(each, names) for each in row]
        if labels is None or None in labels:
            reason = f"{column} is {row!r}; expected a list of classes, which is empty if none occurs"
            faults.append(Fault(f"{index:06d}", reason, whole=True, kind="unknown-label"))
            continue
        target = np.zeros(len(classes), np.float32)
        target[[number[str(label)] for label in labels]] = 1
        records.append(Record(f"{index:06d}", encoded(index), target))
    return finish(ref, records, classes, faults, on_error, keep_classes)


def _of_columns(ref: DataRef, table: Table, columns: Sequence[str], on_error: OnError) -> Dataset:
    encoded, values = read_columns(ref, table, image_column(ref, table), columns)
    records, faults = [], []
    for index, row in enumerate(zip(*(values[name] for name in columns), strict=True)):
        cells = ["" if value is None else str(value).lower() for value in row]
        wrong = [(name, value) for name, value, cell in zip(columns, row, cells, strict=True) if cell not in VALUES]
        if wrong:
            reason = (
                f"{wrong[0][0]} is {wrong[0][1]!r}; expected 1, 0 or null (unknown). If it isn't a class, choose the classes with ?classes="
            )
            faults.append(Fault(f"{index:06d}", reason, whole=True, kind="unknown-label"))
        else:
            records.append(Record(f"{index:06d}", encoded(index), np.array([VALUES[cell] for cell in cells], np.float32)))
    notes = [f"each class has a column: {', '.join(columns[:12])}{', …' if len(columns) > 12 else ''}"]
    return finish(ref, records, columns, faults, on_error, keep_classes, notes)


SCHEMES.add("hf", replace(ONE_LABEL["hf"], open=open_hf))
