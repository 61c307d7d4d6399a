"""Embedding files with one row per image: NumPy's `.npz`, a table (CSV, TSV, Parquet), or JSON lines.

- `.npz`: the arrays `keys` [N] (text) and `embeddings` [N, D]; no pickles.
- Table: the column `key` and D columns `e0`, `e1`, …
- JSON lines: `{"key": …, "embedding": [D values]}`.

An image in which no face was detected has an explicit entry: its key in the array `not_found`, a row with empty values, or
`"embedding": null`. Such images are counted as missing. An image without an entry is an error.
"""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data import tables
from zoo.data.dataset import Dataset
from zoo.errors import DataError, Fault, Flaw
from zoo.evaluation import files
from zoo.system.files import write_atomic, write_text
from zoo.task.answers import AnswerFiles
from zoo.tasks.face.embedding.distances import check_embedding, check_length

SUFFIXES = (".npz", *tables.SUFFIXES, ".jsonl")

Embedding = NDArray[np.float32]  # [D]; [0] if no face was detected
_Entries = Iterator[tuple[str, str, Embedding | None]]  # location, key, embedding; None if invalid

_NOT_FOUND = np.empty(0, np.float32)
# exceptions that NumPy and zipfile raise for files that are damaged, encrypted or of another format
_UNREADABLE = (
    *(ValueError, KeyError, EOFError, MemoryError, RuntimeError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),  # the last of array headers, which NumPy repairs as Python source
)


def read(path: Path, keys: Sequence[str]) -> dict[str, Embedding | None]:
    """Read the embedding of each key, [D] float32 with the same D for all; None if no face was detected. Every key must have an entry."""
    suffix = files.suffix_of(path, SUFFIXES, "a face model")
    faults: list[Fault] = []
    if suffix == ".npz":
        entries = _npz(path, faults)
    elif suffix == ".jsonl":
        entries = files.json_lines(path, _json_answer, faults)
    else:
        entries = _rows(path, faults)
    found = files.collect(path, keys, _alike_long(entries, faults), faults)
    return {key: embedding if len(embedding) else None for key, embedding in found.items()}


def write(path: Path, embeddings: Mapping[str, Embedding | None]) -> None:
    """Write embeddings, at least one of which isn't None (no face was detected), so that `read` returns bit-identical values."""
    suffix = files.suffix_of(path, SUFFIXES, "a face model")
    files.check_writable(list(embeddings), "images", path)
    if suffix == ".npz":
        _write_npz(path, embeddings)
    elif suffix == ".jsonl":
        write_text(path, _json_lines(embeddings))
    else:
        _write_table(path, embeddings, suffix)


def _checked(values: NDArray[Any]) -> Embedding:
    with np.errstate(over="ignore"):  # overflow results in infinity, which the check rejects
        embedding = np.asarray(values, np.float32)
    check_embedding(embedding)
    return embedding


def _numbers(values: Sequence[Any], names: Sequence[str]) -> Embedding:
    """Return an embedding from values, or from their text. `names` identify the values in error messages."""
    for name, value in zip(names, values, strict=True):
        if not files.is_finite(value):
            raise Flaw(f"{name} is {value!r}; expected a finite number")
    return _checked(np.array([files.number(value) for value in values], np.float64))


def _alike_long(entries: _Entries, faults: list[Fault]) -> _Entries:
    """Yield the entries, and report embeddings whose length differs from that of the first one as faults."""
    first: tuple[str, int] | None = None
    for place, key, embedding in entries:
        if embedding is not None and len(embedding):
            first = first or (place, len(embedding))
            try:
                check_length(len(embedding), first[1], first[0])
            except Flaw as flaw:
                faults.append(flaw.at(place))
                yield place, key, None
                continue
        yield place, key, embedding


def _npz(path: Path, faults: list[Fault]) -> _Entries:
    keys, embeddings, not_found = _arrays(path)
    for index, (key, row) in enumerate(zip(keys, embeddings, strict=True), start=1):
        place = f"{path} row {index}"
        try:
            yield place, str(key), _checked(row)
        except Flaw as flaw:
            faults.append(flaw.at(place, f"row {index}"))
            yield place, str(key), None
    for index, key in enumerate(not_found, start=1):
        yield f"{path} not_found {index}", str(key), _NOT_FOUND


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the keys [N], the embeddings [N, D], and the keys of images without a face [M]."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            named = isinstance(archive, np.lib.npyio.NpzFile)
            arrays = {name: archive[name] for name in ("keys", "embeddings", "not_found") if name in archive} if named else {}
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    except _UNREADABLE as error:
        raise DataError(f"{path} is damaged, not an .npz file, or contains a pickle: {str(error)[:120] or type(error).__name__}") from None
    if not named:
        raise DataError(f"{path} contains a single array; expected the arrays keys and embeddings, as written by numpy.savez")
    if missing := [name for name in ("keys", "embeddings") if name not in arrays]:
        raise DataError(f"{path}: arrays missing: {', '.join(missing)}; expected keys [N] (strings) and embeddings [N, D]")
    keys, embeddings = arrays["keys"], arrays["embeddings"]
    not_found = arrays.get("not_found", np.empty(0, "U1"))
    for name, texts in (("keys", keys), ("not_found", not_found)):
        if texts.ndim != 1 or (texts.dtype.kind != "U" and len(texts)):
            shape = list(texts.shape)
            raise DataError(f"{path}: {name} has type {texts.dtype} and shape {shape}; expected a string array (numpy.str_) of shape [N]")
    if embeddings.ndim != 2 or embeddings.dtype.kind not in "fiu":
        raise DataError(f"{path}: embeddings has type {embeddings.dtype} and shape {list(embeddings.shape)}; expected numbers [N, D]")
    if len(keys) != len(embeddings):
        raise DataError(f"{path} has {len(keys)} keys and {len(embeddings)} embeddings; expected one key per embedding")
    return keys, embeddings, not_found


def _write_npz(path: Path, embeddings: Mapping[str, Embedding | None]) -> None:
    found = {key: row for key, row in embeddings.items() if row is not None}
    arrays = {"keys": np.array(list(found), np.str_), "embeddings": np.stack(list(found.values()))}
    if len(found) < len(embeddings):
        arrays["not_found"] = np.array([key for key, row in embeddings.items() if row is None], np.str_)

    write_atomic(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]  # NumPy types every keyword as allow_pickle


def _rows(path: Path, faults: list[Fault]) -> _Entries:
    header = [name for name in tables.open_table(path, ("key",)).found.header if name[:1] == "e" and name[1:].isdecimal()]
    names = [f"e{index}" for index in range(len(header))]
    if not names or set(names) != set(header):
        found = ", ".join(header[:8]) or "none"
        raise DataError(f"{path}: expected the columns key and e0, e1, …, one for each number of the embedding; e columns found: {found}")
    table = tables.open_table(path, ("key", *names))
    for row in table.rows(faults, names):
        answer = None
        values = [row.values[name] for name in names]
        try:
            answer = _numbers(values, names) if any(values) else _NOT_FOUND
        except Flaw as flaw:
            faults.append(row.fault(flaw))
        yield row.place, row.values["key"], answer
    files.report(path, table.notes)


def _write_table(path: Path, embeddings: Mapping[str, Embedding | None], suffix: str) -> None:
    length = next(len(row) for row in embeddings.values() if row is not None)
    names = [f"e{index}" for index in range(length)]
    if suffix == ".parquet":
        rows = [[None] * length if row is None else row.tolist() for row in embeddings.values()]
        files.write_parquet(path, {"key": list(embeddings), **{name: [row[index] for row in rows] for index, name in enumerate(names)}})
        return
    # str() of a float32 is the shortest text from which the same value is read
    lines = ([key, *([""] * length if row is None else map(str, np.asarray(row, np.float32)))] for key, row in embeddings.items())
    write_text(path, tables.as_csv(["key", *names], lines, "\t" if suffix == ".tsv" else ","))


def _json_answer(entry: Mapping[str, Any]) -> Embedding:
    if "embedding" not in entry:
        raise Flaw('has no "embedding"; expected a list of numbers, or null if no face was detected')
    values = entry["embedding"]
    if values is None:
        return _NOT_FOUND
    if not isinstance(values, list) or any(isinstance(value, str) for value in values):
        raise Flaw(f"its embedding is {str(values)[:40]!r}; expected a list of numbers, or null if no face was detected")
    return _numbers(values, [f"number {index} of its embedding" for index in range(len(values))])


def _json_lines(embeddings: Mapping[str, Embedding | None]) -> str:
    # float64 represents every float32 exactly, and JSON text preserves float64
    entries = ({"key": key, "embedding": None if row is None else np.asarray(row, np.float32).tolist()} for key, row in embeddings.items())
    return "".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n" for entry in entries)


def _read(path: Path, dataset: Dataset, classes: tuple[str, ...]) -> Mapping[str, Any]:
    return read(path, dataset.keys)


def _write(path: Path, answers: Mapping[str, Any], dataset: Dataset, classes: tuple[str, ...]) -> None:
    write(path, {key: answers.get(key) for key in dataset.keys})  # in dataset order; images without an embedding count as not found


FILES = AnswerFiles(SUFFIXES, _read, _write)
