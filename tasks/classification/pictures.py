"""Rows of a table that lists images: their keys, files and values, with repeated images and other splits left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from zoo.data import tables
from zoo.data.formats import DataRef
from zoo.data.pictures import PictureFinder
from zoo.errors import Fault, Flaw

T = TypeVar("T")


@dataclass(frozen=True)
class PictureRow(Generic[T]):
    """A row of the requested split: key and file of the image, its value, and the table's row, whose place is used in error messages."""

    key: str
    file: Path
    value: T
    row: tables.Row


@dataclass
class PictureRows(Generic[T]):
    """The rows of a table, read with a function that parses the value of a row or raises a `Flaw`.

    Attributes:
        rows: valid rows of the requested split.
        values: values of all rows whose value is valid, of every split.
        faults: errors of the other rows.
        notes: what was assumed.
    """

    rows: list[PictureRow[T]] = field(default_factory=list)
    values: list[T] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, ref: DataRef, table: tables.Table, parse: Callable[[tables.Row], T]) -> PictureRows[T]:
        """Read a table. `ref` is the reference to the data in it, as returned by `locate`."""
        found, finder, splits = cls(), PictureFinder.of(ref, table.path), tables.SplitFilter(ref)
        first_at: dict[str, str] = {}
        for row in table.rows(found.faults):
            keeps = splits.keeps(row)
            try:
                value = parse(row)
                found.values.append(value)
                key, file = finder.find(row.values["path"])
            except Flaw as flaw:
                found.faults.append(row.fault(flaw, whole=True))
                continue
            if first_at.setdefault(key, row.place) != row.place:
                repeated = f"{key!r} is listed a second time; first listed at {first_at[key]}"
                found.faults.append(row.fault(Flaw(repeated, "repeated-id")))
            elif keeps:
                found.rows.append(PictureRow(key, file, value, tables.Row(row.file, row.line, {})))
        splits.check()
        found.notes = [*table.notes, *finder.notes]
        return found
