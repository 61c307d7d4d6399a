"""Functions for prediction files with one row or line per image, shared by all tasks.

Each task parses the contents of its rows (`tasks/<task>/prediction_files.py`). This module parses numbers and JSON lines, and matches
the keys of the rows with those of the dataset, so that no prediction is dropped silently.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, Flaw, InputError
from zoo.system.files import write_atomic
from zoo.system.wording import counted

Answer = TypeVar("Answer")


def collect(path: Path, keys: Sequence[str], entries: Iterable[tuple[str, str, Answer | None]], faults: list[Fault]) -> dict[str, Answer]:
    """Return the predictions by image key.

    Args:
        path: the file, for messages.
        keys: keys of the images. Each image must have an entry.
        entries: tuples of the position in the file, the key as written in the file, and the prediction (None for an invalid entry).
        faults: errors of the entries. The list may be extended while `entries` is iterated.

    Raises:
        DataError: `faults` isn't empty, an entry is for an unknown image, a key is duplicated, or an image has no entry.
        InputError: keys differ only in leading or trailing spaces.
    """
    wanted = by_text(keys, "images", path)
    other: dict[str, str] = {}  # keys by other names in the file
    names: dict[str, list[str]] = {}
    found: dict[str, Answer] = {}
    first_at: dict[str, str] = {}
    for place, text, answer in entries:
        key = wanted.get(nfc(text.strip()))
        if key is None:
            names = names or _other_names(keys)
            key = next((names[end][0] for end in tails(nfc(text.strip())) if len(names.get(end, ())) == 1), None)
            other |= {} if key is None else {text: key}
        if key is None:
            faults.append(Fault(place, f"the dataset has no image {text!r}"))
        elif key in first_at:
            faults.append(Fault(place, f"duplicate prediction for {text!r}; the first one is at {first_at[key]}"))
        else:
            first_at[key] = place
            if answer is not None:
                found[key] = answer
    faults += [Fault(str(path), f"no prediction for {key!r}") for key in keys if key not in first_at]
    if other:
        text, key = next(iter(other.items()))
        report(path, [f"{counted(len(other), 'image')} named in another way than in the dataset, such as {text!r} as {key!r}"])
    if faults:
        raise DataError(f"{path}: {counted(len(faults), 'error')} in the predictions:", faults, "Each image needs exactly one prediction.")
    return found


def _other_names(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys by their ends, with and without the suffix of the file."""
    names: dict[str, list[str]] = {}
    for key in keys:
        for end in tails(key):
            for name in {end, os.path.splitext(end)[0]}:
                names.setdefault(name, []).append(key)
    return names


def report(path: Path, notes: Iterable[str]) -> None:
    """Report what was assumed or converted in a file of predictions."""
    for note in notes:
        logging.getLogger("zoo").warning("%s: %s", path, note)


def suffix_of(path: Path, suffixes: Sequence[str], whose: str) -> str:
    """Return the lower-case suffix of a file; raise an `InputError` unless it is one of `suffixes`.

    `whose` is the task or kind of model that made the predictions, for the error message ("a classifier").
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise InputError(f"{path}: unsupported suffix {suffix!r} for the predictions of {whose}; expected {', '.join(suffixes)}")
    return suffix


def by_text(names: Sequence[str], what: str, path: Path) -> dict[str, str]:
    """Return a dict from stripped names in normal form to original names, because tables lose leading and trailing spaces.

    Args:
        names: keys or class names. If two are equal after stripping, an `InputError` is raised.
        what: kind of object that is named, for the error message ("images", "classes").
        path: the file, for the error message.
    """
    found = {nfc(name.strip()): name for name in names}
    if len(found) < len(names):
        raise InputError(f"{path}: some {what} have names that are equal or differ only in leading or trailing spaces; rename them")
    return found


def check_writable(names: Sequence[str], what: str, path: Path) -> None:
    """Raise an `InputError` unless names can be encoded in UTF-8 and are distinct without surrounding spaces; see `by_text`."""
    by_text(names, what, path)
    for name in names:
        if not name.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(f"{path}: the name {name!r} (one of the {what}) is not valid Unicode and can't be written; rename it")


def number(value: Any) -> float:
    """Convert a table cell (text) or a JSON value to a float; raise a `ValueError`, or an `OverflowError` if an integer is too large."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    return float(value)


def is_finite(value: Any) -> bool:
    """Return whether a value can be converted to a finite float by `number`."""
    try:
        return math.isfinite(number(value))
    except (ValueError, OverflowError):
        return False


def json_lines(path: Path, answer: Callable[[Mapping[str, Any]], Answer], faults: list[Fault]) -> Iterator[tuple[str, str, Answer | None]]:
    """Read a JSON Lines file with one object per line, each with a string "key", and yield entries for `collect`.

    `answer` parses the prediction in an object, and raises `Flaw` for an invalid one. The errors of invalid lines are appended to `faults`.

    Raises:
        DataError: the file can't be read or isn't UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid UTF-8 ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from None
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
        raise Flaw(f"invalid JSON: {error}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
        raise Flaw('expected a JSON object with a string "key"')
    return entry


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length, NumPy arrays or lists in which None is an empty cell, as Parquet; an existing file is overwritten.

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
