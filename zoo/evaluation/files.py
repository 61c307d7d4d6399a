"""Prediction files with one row or line per image: the parts shared by all tasks.

Each task parses its own rows (`tasks/<task>/prediction_files.py`). This module matches their keys with those of the data, so that
nothing is dropped silently, and parses numbers and JSON lines.
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
    """Return the answers by image key.

    Args:
        path: the file, for messages.
        keys: keys of the images, each of which must have an entry.
        entries: tuples of position in the file, key as written there, and answer (None for a faulty entry).
        faults: faults of the entries; may be extended while `entries` is iterated.

    Raises:
        DataError: there are `faults`, entries for images that aren't in the data, duplicate keys, or images without an entry.
        InputError: keys differ only in leading or trailing spaces.
    """
    wanted = by_text(keys, "images", path)
    found: dict[str, Answer] = {}
    first_at: dict[str, str] = {}
    for place, text, answer in entries:
        key = wanted.get(text.strip())
        if key is None:
            faults.append(Fault(place, f"the data has no image {text!r}"))
        elif key in first_at:
            faults.append(Fault(place, f"duplicate answer for {text!r}; the first one is at {first_at[key]}"))
        else:
            first_at[key] = place
            if answer is not None:
                found[key] = answer
    faults += [Fault(str(path), f"no answer for {key!r}") for key in keys if key not in first_at]
    if faults:
        raise DataError(f"{path}: {len(faults)} errors in the predictions:", faults, "Every image of the data needs exactly one answer.")
    return found


def suffix_of(path: Path, suffixes: Sequence[str], whose: str) -> str:
    """Return a file's suffix in lower case.

    Args:
        path: the file.
        suffixes: supported suffixes.
        whose: owner of the predictions, for the message ("a classifier").

    Raises:
        InputError: the suffix isn't supported.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise InputError(f"{path}: predictions of {whose} must be in files ending in {', '.join(suffixes)}; this one ends in {suffix!r}")
    return suffix


def by_text(names: Sequence[str], what: str, path: Path) -> dict[str, str]:
    """Return the names by their form in a table, which loses leading and trailing spaces.

    Args:
        names: keys or class names.
        what: what they name, for the message ("images", "classes").
        path: the file, for the message.

    Raises:
        InputError: two names have the same form.
    """
    found = {name.strip(): name for name in names}
    if len(found) < len(names):
        raise InputError(f"{path}: some {what} have equal names, or names that differ only in leading or trailing spaces; rename them")
    return found


def check_writable(names: Sequence[str], what: str, path: Path) -> None:
    """Raise an error for names that a file can't represent; arguments as for `by_text`.

    Raises:
        InputError: names can't be encoded in UTF-8, or differ only in leading or trailing spaces.
    """
    by_text(names, what, path)
    for name in names:
        if not name.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(f"{path}: the name {name!r} (one of the {what}) isn't valid Unicode and can't be written; rename it")


def number(value: Any) -> float:
    """Return a number from a table cell (text) or a JSON value as a float.

    Raises:
        ValueError: the value isn't a number; booleans don't count as numbers.
        OverflowError: an integer exceeds the range of floats.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    return float(value)


def is_finite(value: Any) -> bool:
    """Return whether `number` converts a value to a finite number."""
    try:
        return math.isfinite(number(value))
    except (ValueError, OverflowError):
        return False


def json_lines(path: Path, answer: Callable[[Mapping[str, Any]], Answer], faults: list[Fault]) -> Iterator[tuple[str, str, Answer | None]]:
    """Read a JSON Lines file: one object per line, each with the string "key".

    Args:
        path: the file.
        answer: function that returns an object's answer, and raises `Flaw` for an invalid object.
        faults: list to which the faults of the lines are appended.

    Yields:
        Entries for `collect`: position, key and answer (None for a faulty line).

    Raises:
        DataError: the file can't be read or isn't UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: isn't UTF-8 text: {error.reason}. Save it as UTF-8") from None
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
        raise Flaw(f"isn't valid JSON: {error}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
        raise Flaw('expected an object with the string "key"')
    return entry


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a table as Parquet.

    Args:
        path: the file; replaced if it exists.
        columns: columns of equal length by name: NumPy arrays, or lists in which None is an empty cell.

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
