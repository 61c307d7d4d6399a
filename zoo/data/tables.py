"""Annotation tables: reading of CSV, TSV and Parquet files, row by row and as text, and writing of CSV and TSV."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zoo.data.columns import Finder, Found, find_columns, headless, misspelt, renamed
from zoo.data.formats import DataRef
from zoo.data.names import nfc
from zoo.data.table_files import TextForm, parquet_cells, parquet_header, text_cells, text_forms
from zoo.errors import DataError, Fault, Flaw, InputError

SUFFIXES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table."""

    file: Path
    line: str  # "line 7", counted from 1; in Parquet files "row 7", counted from 1 without the header
    values: Mapping[str, str]  # text of each cell by column name, without surrounding spaces; "" for an empty cell

    @property
    def place(self) -> str:
        """File and line, used as the key of faults in this row."""
        return f"{self.file} {self.line}"

    def fault(self, flaw: Flaw, *, whole: bool = False) -> Fault:
        """Return a flaw in this row as a fault; `whole` is as in `Fault`."""
        return flaw.at(self.place, self.line, whole=whole)


@dataclass
class Table:
    """A table whose header has been read.

    Attributes:
        path: the file.
        found: its columns.
        form: form of a text table; None for Parquet.
        optional: names of optional columns, for errors about wrong spellings.
        notes: what was assumed or converted; complete after `rows` was iterated.
    """

    path: Path
    found: Found
    form: TextForm | None
    optional: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls, path: Path, find: Finder, *, expected: Sequence[str] = (), optional: Sequence[str] = (), encoding: str | None = None
    ) -> Table:
        """Read the header of a table.

        A table with the suffix `.parquet` is Parquet. Others are text: in UTF-8, UTF-16 or, if that is plausible, cp1252, and separated by
        commas, semicolons, tabs or vertical bars. The separator is the one with which the required columns are found; `.tsv` files are
        tried with tabs first, all others with commas.

        Args:
            path: the file.
            find: function that finds the columns in a header.
            expected: names of the columns, for the error message.
            optional: as in the class.
            encoding: encoding of a text table; by default, it is detected.

        Raises:
            DataError: the file is empty, damaged, not in the encoding, lacks a required column, or has two columns of the same name.
            InputError: the encoding is unknown; or pyarrow, which Parquet requires, isn't installed.
        """
        if path.suffix.lower() == ".parquet":
            found = find(parquet_header(path))
            _check(path, found, "header", expected)
            return cls(path, found, None, optional, [*found.notes, *filter(None, [renamed(found)])])
        forms = text_forms(path, encoding)
        tried = ((form, _found(path, form, find)) for form in forms)
        form, good = next(((form, found) for form, found in tried if found and not found.missing), (forms[0], None))
        line, header = next(text_cells(path, form), ("", []))
        found = good or find(header)
        _check(path, found, line, expected)
        notes = [form.note] if form.note else []
        if form.separator not in (",", "\t"):
            notes.append(f"its columns are separated by {form.separator!r}")
        if found.headless:
            notes.append(f"it has no header; its columns are read as {', '.join(found.header)}")
        return cls(path, found, form, optional, [*notes, *found.notes, *filter(None, [renamed(found)])])

    def rows(self, faults: list[Fault], numbers: Collection[str] = ()) -> Iterator[Row]:
        """Yield the rows, and skip those with more or fewer values than the header.

        Errors of skipped rows, and of column names that are probably misspelled optional ones, are appended to `faults`. Other columns than
        those found are ignored. Decimal commas in the columns `numbers` become points where the separator isn't a comma.
        """
        header, wanted = self.found.header, {name: wanted for wanted, name in self.found.names.items()}
        names = [wanted.get(name, name) for name in header]
        commas = [place for place, name in enumerate(names) if name in numbers and self.form is not None and self.form.separator != ","]
        converted = ""
        for place, (line, values) in enumerate(self._cells()):
            if place == 0 and not self.found.headless:
                for name, near in misspelt(self.found, self.optional):  # unrelated columns are ignored
                    unknown = Flaw(f"unknown column {name!r}; did you mean {near!r}? Correct the name, or choose a less similar one")
                    faults.append(unknown.at(f"{self.path} {line}", line))
                continue
            if len(values) > len(header) and not any(values[len(header) :]):
                del values[len(header) :]
            if len(values) != len(header):
                count = Flaw(f"has {len(values)} values; expected {len(header)}, as in the header")
                faults.append(count.at(f"{self.path} {line}", line, whole=True))
                continue
            for index in commas:
                if re.fullmatch(r"-?\d+,\d+", values[index]):
                    converted = converted or values[index]
                    values[index] = values[index].replace(",", ".")
            yield Row(self.path, line, dict(zip(names, map(nfc, values), strict=True)))
        if converted:
            self.notes.append(f"numbers are written with a decimal comma, such as {converted}")

    def _cells(self) -> Iterator[tuple[str, list[str]]]:
        if self.form is not None:
            return text_cells(self.path, self.form)
        raw = parquet_header(self.path)
        used = {*self.found.names.values(), *self.found.extra}
        wanted = frozenset(name for name, plain in zip(raw, self.found.header, strict=False) if plain in used)
        return _with_header(raw, parquet_cells(self.path, wanted))


def _with_header(header: list[str], cells: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    yield "header", header
    yield from cells


def _found(path: Path, form: TextForm, find: Finder) -> Found | None:
    """Return the columns of a table in a possible form; None if the first row can't be read."""
    try:
        _, first = next(text_cells(path, form), ("", []))
    except DataError:
        return None
    found = find(first)
    if found.missing and (names := headless(first)) is not None and not (other := find(names)).missing:
        other.headless = True
        return other
    return found


def _check(path: Path, found: Found, line: str, expected: Sequence[str]) -> None:
    """Raise a `DataError` if required columns are missing or names occur twice."""
    if found.missing:
        shown = ", ".join(repr(name) for name in found.header[:12]) or "nothing"
        hints = "".join(f"; {note}" for note in found.notes)
        raise DataError(f"{path}: no column {', '.join(found.missing)}; expected a header with {', '.join(expected)}, found {shown}{hints}")
    if len(set(found.header)) < len(found.header):
        raise DataError(f"{path} {line}: a column name occurs twice: {', '.join(found.header)}")


def rows(path: Path, required: Sequence[str], optional: Sequence[str], faults: list[Fault]) -> Iterator[Row]:
    """Read a table with the given columns, row by row, with the errors of `Table.open` and `Table.rows`."""
    return open_table(path, required, optional).rows(faults)


def open_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Open a table with the given columns; see `Table.open`."""
    find = partial(find_columns, required=required, optional=optional)
    return Table.open(path, find, expected=(*required, *optional), optional=optional)


def matches(path: Path, find: Finder) -> Found | None:
    """Return the columns if a file is a table in which all required ones are found, otherwise None."""
    for encoding in (None, "latin-1") if path.suffix.lower() in SUFFIXES else ():  # `encoding=` may be needed, but headers are ASCII
        with contextlib.suppress(InputError):  # includes DataError
            return Table.open(path, find, encoding=encoding).found
    return None


def split_names(path: Path) -> list[str]:
    """Return the values of a table's column split, sorted; empty if the table has none, or can't be read."""
    find = partial(find_columns, required=("path",), optional=("split",))
    for encoding in (None, "latin-1"):
        with contextlib.suppress(InputError):
            return sorted({row.values["split"] for row in Table.open(path, find, encoding=encoding).rows([]) if row.values.get("split")})
    return []


def as_csv(header: Iterable[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return a table as CSV text, or as TSV text if the delimiter is a tab."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


class SplitFilter:
    """Filter that keeps the rows of the requested split, based on the optional column `split`."""

    def __init__(self, ref: DataRef) -> None:
        self._ref = ref
        self._names: dict[str, None] = {}

    def keeps(self, row: Row) -> bool:
        """Return whether a row belongs to the requested split, or no split was requested."""
        name = row.values.get("split", "")
        if name:
            self._names[name] = None
        return self._ref.split in (None, name)

    def check(self) -> None:
        """Check the split names of all rows passed to `keeps`.

        Raises:
            InputError: the requested split doesn't occur, or no split was requested and there are several.
        """
        names = list(self._names)
        if self._ref.split is not None and self._ref.split not in names:
            known = f"its splits are: {', '.join(names)}" if names else "it has no column 'split'"
            raise InputError(f"data {self._ref.text!r}: no split {self._ref.split!r}; {known}")
        if self._ref.split is None and len(names) > 1:
            raise InputError(f"data {self._ref.text!r} has the splits {', '.join(names)}; choose one with ?split={names[0]}")
