"""Answers in a file, one row or line per picture: what is the same whatever a row holds.

Each task reads its own rows (`tasks/<task>/prediction_files.py`); here the keys are matched with those of the data, so that nothing
is dropped in silence, and numbers and JSON lines are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from zoo.errors import DataError, Fault, Flaw, InputError
from zoo.system.files import write_atomic

Answer = TypeVar("Answer")


def collect(path: Path, keys: Sequence[str], entries: Iterable[tuple[str, str, Answer | None]], faults: list[Fault]) -> dict[str, Answer]:
    """Return one answer for each picture.

    Args:
        path: the file, for messages.
        keys: of the pictures, each of which must have an entry.
        entries: place in the file, key as it stands there, and answer; None for one that was faulty.
        faults: of the entries; they may be added while `entries` is read.

    Raises:
        InputError: any fault: pictures that the data hasn't got, keys given twice, pictures without an entry, and `faults`.
    """
    wanted = by_text(keys, "pictures", path)
    found: dict[str, Answer] = {}
    first_at: dict[str, str] = {}
    for place, text, answer in entries:
        key = wanted.get(text.strip())
        if key is None:
            faults.append(Fault(place, f"the data has no picture {text!r}"))
        elif key in first_at:
            faults.append(Fault(place, f"{text!r} is answered a second time; its first answer stands at {first_at[key]}"))
        else:
            first_at[key] = place
            if answer is not None:
                found[key] = answer
    faults += [Fault(str(path), f"no answer for {key!r}") for key in keys if key not in first_at]
    if faults:
        raise DataError(f"{path}: {len(faults)} faults in the predictions:", faults, "Every picture of the data needs one answer.")
    return found


def suffix_of(path: Path, suffixes: Sequence[str], whose: str) -> str:
    """Return a file's suffix in lower case.

    Raises:
        InputError: none of `suffixes`.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise InputError(f"{path}: predictions of {whose} are in files ending in {', '.join(suffixes)}; this one ends in {suffix!r}")
    return suffix


def by_text(names: Sequence[str], what: str, path: Path) -> dict[str, str]:
    """Return the names by what a table keeps of them: spaces at their ends are lost there.

    Raises:
        InputError: two of them become one.
    """
    found = {name.strip(): name for name in names}
    if len(found) < len(names):
        raise InputError(f"{path}: some {what} are named alike, or differ in spaces at their ends alone; a table can't tell them apart")
    return found


def check_writable(names: Sequence[str], what: str, path: Path) -> None:
    """Refuse names that would not be read back as they are.

    Raises:
        InputError: names that are no text in UTF-8, or differ in spaces at their ends alone.
    """
    by_text(names, what, path)
    for name in names:
        if not name.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(f"{path}: the name {name!r} of the {what} is no Unicode text and can't be written; rename it")


def number(value: Any) -> float:
    """Return a number that stands in a table as text, or in JSON as itself.

    Raises:
        ValueError: no number; `true` is none.
        OverflowError: an integer beyond all floats.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    return float(value)


def is_finite(value: Any) -> bool:
    """Tell whether a value is a finite number, as `number` reads it."""
    try:
        return math.isfinite(number(value))
    except (ValueError, OverflowError):
        return False


def json_lines(path: Path, answer: Callable[[Mapping[str, Any]], Answer], faults: list[Fault]) -> Iterator[tuple[str, str, Answer | None]]:
    """Read one object per line, each with the text "key".

    Args:
        path: the file.
        answer: from an object to its answer; it raises `Flaw` for what is wrong.
        faults: takes up what is wrong with lines.

    Yields:
        As `collect` takes them.

    Raises:
        DataError: the file can't be read, or is no UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text: {error.reason}. Save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    for index, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place, entry = f"{path} line {index}", None
        try:
            entry = _entry(line)
            yield place, entry["key"], answer(entry)
        except Flaw as flaw:
            faults.append(flaw.at(place, f"line {index}"))
            if entry is not None:
                yield place, entry["key"], None


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Flaw(f"is no JSON: {error}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
        raise Flaw('expected an object with the text "key"')
    return entry


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a table.

    Args:
        path: the file; replaced whole.
        columns: name to values, alike long; NumPy arrays or lists, where None is an empty cell.

    Raises:
        InputError: pyarrow isn't installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: writing Parquet needs pyarrow. Install it with: pip install 'resnet-zoo[hf]'") from None

    def put(file: BinaryIO) -> None:
        pq.write_table(pa.table(dict(columns)), file)

    write_atomic(path, put)
