"""Files of annotation tables: encodings and separators of text tables as spreadsheets write them, and Parquet."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import DataError, InputError

Cells = Iterator[tuple[str, list[str]]]  # position (line or row) and values of each row, starting with the header
SEPARATORS = (",", ";", "\t", "|")
_SEP = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)  # first line of Excel's tables
_WESTERN = "cp1252"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TextForm:
    """Form of a text table: its encoding, separator, the number of lines before the header, and what was assumed."""

    encoding: str
    separator: str
    skip: int = 0
    note: str = ""


def text_forms(path: Path, encoding: str | None) -> list[TextForm]:
    """Return the possible forms of a text table, the usual one of its suffix first.

    Raises:
        DataError: the file can't be read, or is a workbook.
        InputError: the encoding is unknown.
    """
    codec, note = _codec(path, encoding)
    try:
        with path.open(encoding=codec, newline="", errors="replace") as file:
            stated = _SEP.fullmatch(file.readline(1000).rstrip("\r\n"))
    except UnicodeError:  # UTF-16 without its mark
        stated = None
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    if stated:
        return [TextForm(codec, stated[1], 1, note)]
    return [TextForm(codec, separator, 0, note) for separator in dict.fromkeys((usual, *SEPARATORS))]


def _codec(path: Path, encoding: str | None) -> tuple[str, str]:
    """Return the encoding of a text table, and what was assumed."""
    if encoding is not None:
        try:
            if not codecs.lookup(encoding)._is_text_encoding:
                raise LookupError
        except (LookupError, ValueError):
            raise InputError(f"{path}: unknown encoding {encoding!r}; expected one that Python knows, such as cp1251 or gbk") from None
        return encoding, ""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
                raise DataError(f"{path} is a workbook of a spreadsheet program; save its sheet as CSV (in Excel: CSV UTF-8)")
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16", ""
            file.seek(0)
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        example = _western_word(path)
        if example is not None:
            return _WESTERN, f"it isn't UTF-8; it is read in the encoding {_WESTERN} (Windows), such as {example!r}"
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None
    return "utf-8-sig", ""


def _western_word(path: Path) -> str | None:
    """Return a word with an accent if a text is plausible in the encoding cp1252 of Western Europe; None if it isn't.

    In other encodings' words, most letters would become accented letters, or signs.
    """
    try:
        text = path.read_bytes().decode(_WESTERN)
    except UnicodeDecodeError:
        return None
    words = dict.fromkeys(word for word in re.findall(r"[^\W\d_]*[^\x00-\x7f\s][^\s,;|\"/\\_.\-]*", text))
    for word in words:
        accented = [sign for sign in word if not sign.isascii()]
        if not all(sign in "šžœŠŽŒŸ’–°€ºª" or "À" <= sign <= "ÿ" for sign in accented) or 2 * len(accented) > len(word):
            return None
    return next(iter(words), None)


def text_cells(path: Path, form: TextForm) -> Cells:
    """Yield the rows of a text table that aren't empty.

    Raises:
        DataError: the file can't be read, isn't valid in its encoding, or isn't a valid table.
    """
    line = 1
    try:
        with path.open(encoding=form.encoding, newline="") as file:
            for _ in range(form.skip):
                file.readline()
                line += 1
            reader = csv.reader(file, delimiter=form.separator, strict=True)
            for values in reader:
                if any(values):  # spreadsheets write rows of empty cells
                    yield f"line {line}", [value.strip() for value in values]
                line = form.skip + reader.line_num + 1  # first line of the next row: quoted values may span lines
    except csv.Error as error:
        name = "TSV" if form.separator == "\t" else "CSV"
        raise DataError(f"{path} line {line} is not valid {name}: {error}") from None
    except UnicodeError as error:
        name = "UTF-8" if form.encoding == "utf-8-sig" else form.encoding
        reason = getattr(error, "reason", error)
        remedy = "save it as UTF-8, or name its encoding, as in ?encoding=cp1251"
        raise DataError(f"{path} is not valid {name} after line {line - 1} ({reason}); {remedy}") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def parquet_header(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Raises:
        DataError: the file isn't a Parquet file, or is damaged.
        InputError: pyarrow isn't installed.
    """
    return next(_parquet(path, ()))[1]


def parquet_cells(path: Path, wanted: frozenset[str]) -> Cells:
    """Yield the rows of a Parquet file; cells of other columns than `wanted` are empty. Raises the errors of `parquet_header`."""
    rows = _parquet(path, wanted)
    next(rows)
    yield from rows


def _parquet(path: Path, wanted: frozenset[str] | tuple[()]) -> Cells:
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
    if isinstance(value, list) and all(isinstance(part, int | float) for part in value):
        return str(value)
    raise DataError(f"{place}: the value of {column} has the type {type(value).__name__}; expected a string or a number")
