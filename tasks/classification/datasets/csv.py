"""The `csv:` format: a table with the columns path, label and optionally split, in CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.data import tables
from zoo.data.classes import FILE, in_order, listed_classes
from zoo.data.columns import Found, find_boxes, find_columns
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.table_folder import locate, recognise_tables
from zoo.errors import DataError, Flaw
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.labels import MULTI_LABEL, explain, renamed_labels, several_labels
from zoo.tasks.classification.pictures import PictureRows

_COLUMNS = ("path", "label")
_ON, _OFF = {"1", "1.0", "true"}, {"0", "0.0", "false", ""}


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a table of images and their classes.

    Paths are relative to the table's folder, or to `root=`. The classes are those of the whole table, regardless of the split. They are in
    the order of a `classes.txt` next to the table; without it, they are sorted as numbers if all of them are integers, otherwise as text.
    Instead of a column label, a table may have one column of 0 and 1 for each class. `encoding=` is the encoding of a table that isn't
    UTF-8. Several labels of one image are errors.
    """
    path, ref = locate(ref, _find)
    table = tables.Table.open(path, _find, expected=(*_COLUMNS, "split"), optional=("split",), encoding=ref.options.get("encoding"))
    pictures = PictureRows.read(ref, table, lambda row: _label(row, table))
    labels = {*_class_columns(table.found), *pictures.values}
    known = {*(listed_classes(table.path.parent) or ()), *(ref.classes or ())}
    names, note = renamed_labels(labels) if not labels <= known else ({}, "")
    several = several_labels({names.get(label, label) for label in labels}, known)
    classes = in_order(sorted_labels({name for label in labels if (name := names.get(label, label)) not in several}), table.path.parent)
    number = {name: index for index, name in enumerate(classes)}
    records = []
    for picture in pictures.rows:
        label = names.get(picture.value, picture.value)
        if label in several:
            reason = explain(label, several, f"list all classes in {FILE} next to the table")
            pictures.faults.append(picture.row.fault(Flaw(reason, "unknown-label"), whole=True))
        else:
            records.append(Record(picture.key, picture.file, number[label]))
    notes = [*pictures.notes, *([note] if note else [])]
    return finish(ref, records, classes, pictures.faults, on_error, notes=notes)


def _find(header: Sequence[str]) -> Found:
    """Find the columns. Without a label, it is the only other column, or the other columns are those of the classes."""
    found = find_columns(header, _COLUMNS, ("split",))
    if found.missing == ["label"] and not found.notes and not find_boxes(header):
        if len(found.others) == 1:
            found.names["label"], found.missing = found.others[0], ()
        elif found.others:
            found.names |= {name: name for name in found.others}
            found.notes.append(f"each class has a column: {', '.join(_class_columns(found))}")
            found.missing = ()
    return found


def _class_columns(found: Found) -> list[str]:
    return [] if "label" in found.names else [name for name in found.names if name not in ("path", "split")]


def _label(row: tables.Row, table: tables.Table) -> str:
    """Return the label of a row; raise a `Flaw` if there is none, or several."""
    columns = _class_columns(table.found)
    if columns:
        values = {name: row.values[name].lower() for name in columns}
        if not set(values.values()) <= _ON | _OFF:
            found = ", ".join(table.found.header[:12])
            raise DataError(
                f"{row.place}: no column label; expected a label, or a column of 0 and 1 for each class; the columns are {found}"
            )
        chosen = [name for name, value in values.items() if value in _ON]
        if len(chosen) > 1:
            raise Flaw(
                f"the image has several labels ({', '.join(chosen[:5])}), but the model predicts one class per image; "
                f"{MULTI_LABEL}, or keep one label",
                "unknown-label",
            )
        label = "".join(chosen)
    else:
        label = row.values["label"]
    if not label:
        raise Flaw("the label is empty; expected the class of the image", "unknown-label")
    return label


def sorted_labels(labels: set[str]) -> list[str]:
    """Sort class names as numbers if all of them are integers, otherwise as text."""
    numbers = all(label.isdecimal() and label.isascii() and len(label) < 19 for label in labels)
    return sorted(labels, key=lambda label: (int(label), label)) if numbers else sorted(labels)


def _recognise(file: Path) -> str | None:
    found = tables.matches(file, lambda header: find_columns(header, _COLUMNS))
    if found is not None and not find_boxes(found.header):
        return f"it is a table with the columns {' and '.join(_COLUMNS)}"
    return "it is Roboflow's table of classes" if file.name == "_classes.csv" and tables.matches(file, _find) else None


def _recognise_folder(folder: Path) -> str | None:
    return recognise_tables(folder, lambda header: _without_boxes(_find(header)))


def _without_boxes(found: Found) -> Found:
    found.missing = ["label"] if find_boxes(found.header) else found.missing
    return found


SCHEMES.add("csv", Scheme("csv", open_csv, _recognise_folder, options=("root", "encoding"), recognise_file=_recognise))
