"""Annotation tables: reading of CSV, TSV and Parquet files, row by row and as text, and writing of CSV and TSV."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.formats import DataRef
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, Flaw, InputError

SUFFIXES = (".csv", ".tsv", ".parquet")

_Cells = Iterator[tuple[str, list[str]]]  # position (line or row) and values of each row, starting with the header


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


def rows(path: Path, required: Sequence[str], optional: Sequence[str], faults: list[Fault]) -> Iterator[Row]:
    """Read a table with a header, row by row.

    Files with the suffix `.tsv` are read as tab-separated, `.parquet` as Parquet, and all others as comma-separated. Text must be UTF-8.
    Rows with more or fewer values than the header are skipped.

    Columns that are neither required nor optional are ignored. Errors of skipped rows, and of column names that are probably misspelled
    optional ones, are appended to `faults`.

    Raises:
        DataError: the file is empty, damaged, not UTF-8, lacks a required column, or has two columns of the same name.
        InputError: pyarrow, which Parquet requires, isn't installed.
    """
    wanted = (*required, *optional)
    cells = _parquet(path, wanted) if path.suffix.lower() == ".parquet" else _text(path)
    line, header = next(cells, ("", []))
    header = [nfc(name) for name in header]
    missing = [name for name in required if name not in header]
    if missing:
        found = ", ".join(repr(name) for name in header[:12]) or "nothing"
        raise DataError(f"{path}: no column {', '.join(missing)}; expected a header with {', '.join(wanted)}, found {found}")
    if len(set(header)) < len(header):
        raise DataError(f"{path} {line}: a column name occurs twice: {', '.join(header)}")
    absent = [name for name in optional if name not in header]
    for name in header:  # unrelated columns are ignored; a misspelled optional column must not be ignored silently
        if name not in wanted and (near := difflib.get_close_matches(name.strip().lower(), absent, n=1, cutoff=0.7)):
            unknown = Flaw(f"unknown column {name!r}; did you mean {near[0]!r}? Correct the name, or choose a less similar one")
            faults.append(unknown.at(f"{path} {line}", line))
    for line, values in cells:
        if len(values) == len(header):
            yield Row(path, line, dict(zip(header, map(nfc, values), strict=True)))
        else:
            count = Flaw(f"has {len(values)} values; expected {len(header)}, as in the header")
            faults.append(count.at(f"{path} {line}", line, whole=True))


def has_columns(path: Path, required: Sequence[str]) -> bool:
    """Return whether a file is a table whose header contains the required columns."""
    try:
        next(rows(path, required, (), []), None)
    except InputError:  # includes DataError
        return False
    return True


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


def _text(path: Path) -> _Cells:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for values in reader:
                if values:  # skip empty lines
                    yield f"line {line}", [value.strip() for value in values]
                line = reader.line_num + 1  # first line of the next row: quoted values may span lines
    except csv.Error as error:
        raise DataError(f"{path} line {line} is not valid {'TSV' if delimiter == chr(9) else 'CSV'}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid UTF-8 after line {line - 1} ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _parquet(path: Path, wanted: Sequence[str]) -> _Cells:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: reading Parquet requires pyarrow. Install it with: pip install 'resnet-zoo[hf]'") from None
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            yield "header", list(header)
            number = 0
            for batch in file.iter_batches(batch_size=8192, columns=[name for name in header if name in wanted]):
                columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
                for index in range(batch.num_rows):
                    number += 1
                    line = f"row {number}"
                    yield line, [_cell(f"{path} {line}", name, columns[name][index]) if name in columns else "" for name in header]
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{path} is not a Parquet file, or is damaged: {first_line}") from None


def _cell(place: str, column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise DataError(f"{place}: the value of {column} has the type {type(value).__name__}; expected a string or a number")
