"""The `csv:` format: a table with the columns path, label and optionally split, in CSV, TSV or Parquet."""

from __future__ import annotations

from pathlib import Path

from zoo.data import tables
from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Fault, Flaw
from zoo.tasks.classification.datasets import SCHEMES

_COLUMNS = ("path", "label")


def open_csv(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a table of images and their classes.

    Paths are relative to the table's folder, or to `root=`. The classes are those of the whole table, regardless of the split. They are in
    the order of a `classes.txt` next to the table; without it, they are sorted as numbers if all of them are integers, otherwise as text.
    """
    table = ref.file()
    root = PictureRoot(ref.root_folder() or table.parent, ref.links)
    splits = tables.SplitFilter(ref)
    faults: list[Fault] = []
    labels: set[str] = set()
    chosen: list[tuple[str, Path, str]] = []
    first_at: dict[str, str] = {}
    for row in tables.rows(table, _COLUMNS, ("split",), faults):
        label = row.values["label"]
        keeps = splits.keeps(row)
        if not label:
            faults.append(row.fault(Flaw("the label is empty; expected the class of the image", "unknown-label"), whole=True))
            continue
        labels.add(label)
        try:
            key, file = root.find(row.values["path"])
        except Flaw as flaw:
            faults.append(row.fault(flaw, whole=True))
            continue
        if first_at.setdefault(key, row.place) != row.place:
            faults.append(row.fault(Flaw(f"{key!r} is listed a second time; first listed at {first_at[key]}", "repeated-id")))
        elif keeps:
            chosen.append((key, file, label))
    splits.check()
    classes = in_order(sorted_labels(labels), table.parent)
    number = {name: index for index, name in enumerate(classes)}
    return finish(ref, [Record(key, file, number[label]) for key, file, label in chosen], classes, faults, on_error)


def sorted_labels(labels: set[str]) -> list[str]:
    """Sort class names as numbers if all of them are integers, otherwise as text."""
    numbers = all(label.isdecimal() and label.isascii() and len(label) < 19 for label in labels)
    return sorted(labels, key=lambda label: (int(label), label)) if numbers else sorted(labels)


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() not in tables.SUFFIXES or not tables.has_columns(file, _COLUMNS):
        return None
    return f"it is a table with the columns {' and '.join(_COLUMNS)}"


SCHEMES.add("csv", Scheme("csv", open_csv, options=("root",), recognise_file=_recognise))
