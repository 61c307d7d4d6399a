"""The `csv:` format: a table with one column per class, or with a list of labels in each row, in CSV, TSV or Parquet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from zoo.data import tables
from zoo.data.classes import in_order
from zoo.data.columns import Found, find_boxes, find_columns, plain
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.names import unique
from zoo.data.table_folder import locate, recognise_tables
from zoo.errors import Flaw, InputError
from zoo.tasks.classification.datasets.csv import sorted_labels
from zoo.tasks.classification.labels import list_parts
from zoo.tasks.classification.multilabel.datasets import SCHEMES
from zoo.tasks.classification.multilabel.targets import VALUES, Target, keep_classes
from zoo.tasks.classification.pictures import PictureRows

_LISTS = {"labels", "tags", "classes", "categories", "targets"}  # names of columns of lists, besides those of a label
_DELIMITERS = ("|", ";", ",")  # tried in this order
_EXPECTED = ("path", "a column of 1 and 0 for each class, or labels", "split")


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a table of images and their labels.

    By default, every column other than path and split is a class: 1 if it occurs in the image, 0 if it doesn't, empty if that is unknown.
    `classes=` chooses the columns, if the table has others. If there is a column label, labels or of a similar name, or one is
    named by `labels=`, it contains the list of the classes that occur, and all others don't. The separator of the list is `delimiter=`, or
    else the first of |, ; and , that occurs in the column; lists such as `['cat', 'dog']` are recognised too. An empty list means that no
    class occurs. The order of the classes is that of the columns, or alphabetical for lists, or that of a `classes.txt` next to the table.
    Paths, `root=` and `encoding=` are as for classification with one class per image.
    """
    find = partial(_find, labels=ref.options.get("labels"), chosen=ref.classes)
    if "delimiter" in ref.options and not ref.options["delimiter"]:
        raise InputError(f"data {ref.text!r}: delimiter is empty; expected the separator of the labels, such as delimiter=|")
    path, ref = locate(ref, find)
    table = tables.Table.open(path, find, expected=_EXPECTED, optional=("split",), encoding=ref.options.get("encoding"))
    classes, records, read = (_of_lists if "labels" in table.found.names else _of_columns)(ref, table)
    return finish(ref, records, classes, read.faults, on_error, keep_classes, read.notes)


def _find(header: Sequence[str], labels: str | None = None, chosen: Sequence[str] | None = None) -> Found:
    """Find the column of the path, and either that of the lists or those of the classes."""
    found = find_columns(header, ("path",), ("split",))
    if found.missing:
        return found
    lists = [name for name in found.others if plain(name) in _LISTS]
    named = find_columns(header, ("path", "label"), ("split",)).names.get("label")
    if labels is not None:
        found.names["labels"], found.missing = labels, () if labels in found.header else (labels,)
    elif lists or named:
        found.names["labels"] = lists[0] if lists else str(named)
    else:
        classes = [name for name in found.others if chosen is None or name in chosen]
        found.names |= {name: name for name in classes}
        found.missing = () if classes else ("labels",)
        found.notes += [f"each class has a column: {', '.join(classes[:12])}{', …' if len(classes) > 12 else ''}"] if classes else []
    return found


def class_columns(header: Sequence[str]) -> list[str]:
    """Return the names of the columns that are read as classes; empty if the table has none, or has lists of labels."""
    found = _find(header)
    return [] if "labels" in found.names or found.missing else [name for name in found.names if name not in ("path", "split")]


def _of_columns(ref: DataRef, table: tables.Table) -> tuple[tuple[str, ...], list[Record], PictureRows[Target]]:
    columns = [name for name in table.found.names if name not in ("path", "split")]

    def values(row: tables.Row) -> Target:
        for name in columns:
            if row.values[name].lower() not in VALUES:
                raise Flaw(
                    f"the column {name!r} is {row.values[name]!r}; expected 1, 0 or an empty cell (unknown). If it isn't a class, choose "
                    "the columns of the classes with ?classes=; if it contains a list of labels, name it with ?labels=",
                    "unknown-label",
                )
        return np.array([VALUES[row.values[name].lower()] for name in columns], np.float32)

    read = PictureRows.read(ref, table, values)
    classes = in_order(columns, table.path.parent)
    order = [columns.index(name) if name in columns else -1 for name in classes]
    absent = np.array([name not in columns for name in classes])
    records = [Record(each.key, each.file, np.where(absent, np.nan, each.value[order]).astype(np.float32)) for each in read.rows]
    return classes, records, read


def _of_lists(ref: DataRef, table: tables.Table) -> tuple[tuple[str, ...], list[Record], PictureRows[str]]:
    read = PictureRows.read(ref, table, lambda row: row.values["labels"])
    delimiter = ref.options.get("delimiter") or next((sign for sign in _DELIMITERS if any(sign in cell for cell in read.values)), None)
    lists = {cell: _parts(cell, delimiter) for cell in set(read.values)}
    classes = in_order(sorted_labels({label for labels in lists.values() for label in labels}), table.path.parent)
    number = {name: index for index, name in enumerate(classes)}
    if delimiter is not None and "delimiter" not in ref.options and not all(_is_list(cell) for cell in lists if delimiter in cell):
        read.notes.append(f"labels are separated by {delimiter!r}")
    records = []
    for each in read.rows:
        target = np.zeros(len(classes), np.float32)
        target[[number[label] for label in lists[each.value]]] = 1
        records.append(Record(each.key, each.file, target))
    return classes, records, read


def _parts(cell: str, delimiter: str | None) -> tuple[str, ...]:
    """Return the labels in a cell, each once."""
    if _is_list(cell):
        return tuple(unique(list_parts(cell)))
    parts = [cell] if delimiter is None else cell.split(delimiter)
    return tuple(unique([part.strip() for part in parts if part.strip()]))


def _is_list(cell: str) -> bool:
    return re.fullmatch(r"\[.*\]", cell) is not None


def _recognise(file: Path) -> str | None:
    found = tables.matches(file, _find)
    if found is None or find_boxes(found.header):
        return None
    return f"it is a table of images with {'lists of labels' if 'labels' in found.names else 'a column for each class'}"


def _recognise_folder(folder: Path) -> str | None:
    return recognise_tables(folder, _without_boxes)


def _without_boxes(header: Sequence[str]) -> Found:
    found = _find(header)
    found.missing = ("labels",) if find_boxes(header) else found.missing
    return found


SCHEMES.add(
    "csv",
    Scheme("csv", open_csv, _recognise_folder, options=("root", "encoding", "labels", "delimiter"), recognise_file=_recognise),
)
