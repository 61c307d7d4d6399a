"""Files of a classifier's predictions: a table (CSV, TSV, Parquet) with one row per image, or JSON Lines with one line per image.

A table has a column `key` and one column per class, named `logit:CLASS` for logits or `CLASS` for probabilities. A table of predictions
without probabilities has the columns `key` and `label`. The header determines the kind of the table; it is never guessed from the numbers.

A JSON line is an object with the image's `key` and one of: `logits`, numbers by class name; `probabilities`, numbers by class name;
`label`, a class name or a class index.

Files of multi-label models have the same form, without `label`. Their probabilities needn't sum to 1.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data import tables
from zoo.data.dataset import Dataset
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, Flaw
from zoo.evaluation import files
from zoo.system.files import write_text
from zoo.task.answers import AnswerFiles
from zoo.tasks.classification.scores import log_probabilities

SUFFIXES = (*tables.SUFFIXES, ".jsonl")
_LOGIT = "logit:"
_SUM = 1e-3  # maximum deviation from 1 of the sum of an image's probabilities, because some tools round to four digits or fewer

Answer = NDArray[Any]  # logits [K] float32, or only the class as a zero-dimensional int64 array


def read(path: Path, dataset: Dataset, classes: tuple[str, ...], multi_label: bool = False) -> dict[str, Answer]:
    """Read one prediction for each image of a dataset, by key. Probabilities are converted to logits, whose softmax or sigmoid they are.

    Raises:
        DataError: the file can't be read, or rows are invalid; the message lists them with their lines.
    """
    suffix = files.suffix_of(path, SUFFIXES, "a classifier")
    faults: list[Fault] = []
    kind = _Kind(classes, multi_label)
    entries = files.json_lines(path, kind.of_entry, faults) if suffix == ".jsonl" else _rows(path, kind, faults)
    return files.collect(path, dataset.keys, entries, faults)


def write(path: Path, answers: Mapping[str, Answer], dataset: Dataset, classes: tuple[str, ...]) -> None:
    """Write predictions so that `read` returns bit-identical values.

    The keys and class names must be encodable as UTF-8 and must differ in more than leading or trailing spaces.
    """
    suffix = files.suffix_of(path, SUFFIXES, "a classifier")
    answers = {key: answers[key] for key in dataset.keys if key in answers}  # in the order of the dataset
    files.check_writable(list(answers), "images", path)
    files.check_writable(classes, "classes", path)
    if suffix == ".parquet":
        _write_parquet(path, answers, classes)
    else:
        write_text(path, _json_lines(answers, classes) if suffix == ".jsonl" else _table(answers, classes, suffix))


@dataclass(frozen=True)
class _Kind:
    """The form of the predictions: the classes, and whether the model is multi-label."""

    classes: tuple[str, ...]
    multi_label: bool

    def of_numbers(self, values: Sequence[Any], logits: bool) -> Answer:
        """Convert the numbers of a row to logits [K], or raise a `Flaw`."""
        try:
            numbers = np.array([files.number(value) for value in values], np.float64)
        except (ValueError, OverflowError):
            numbers = np.full(len(values), np.nan)
        if not np.isfinite(numbers).all():
            at = next(index for index, value in enumerate(values) if not files.is_finite(value))
            raise Flaw(f"{self.classes[at]!r} is {values[at]!r}; expected a finite number")
        if logits:
            if np.abs(numbers).max(initial=0) > np.finfo(np.float32).max:
                largest = int(np.abs(numbers).argmax())
                raise Flaw(f"{self.classes[largest]!r} is {numbers[largest]:g}, outside the range of float32")
            return numbers.astype(np.float32)
        total = math.fsum(numbers)
        if numbers.min() < 0 or numbers.max() > 1 or (not self.multi_label and abs(total - 1) > _SUM):
            sums = ("", "") if self.multi_label else (f" and sum to {total:g}", ", with a sum of 1")
            raise Flaw(
                f"its probabilities range from {numbers.min():g} to {numbers.max():g}{sums[0]}; expected 0 to 1{sums[1]}. "
                f"If they are logits, name the columns {_LOGIT}CLASS (in JSON Lines, use the key logits)"
            )
        return log_probabilities(numbers) - (log_probabilities(1 - numbers) if self.multi_label else 0)

    def of_entry(self, entry: Mapping[str, Any]) -> Answer:
        """Convert a JSON object to a prediction, or raise a `Flaw`."""
        known = ("logits", "probabilities") if self.multi_label else ("logits", "probabilities", "label")
        kinds = [kind for kind in known if kind in entry]
        if len(kinds) != 1:
            expected = " or ".join([", ".join(known[:-1]), known[-1]])
            raise Flaw(f"has {' and '.join(kinds) or 'no prediction'}; expected one of {expected}")
        value = entry[kinds[0]]
        value = {nfc(str(name)): number for name, number in value.items()} if isinstance(value, dict) else value
        if kinds == ["label"]:
            return _label(value, {name: index for index, name in enumerate(self.classes)})
        if not isinstance(value, dict) or set(value) != set(self.classes):
            given = set(value) if isinstance(value, dict) else set(self.classes)
            differing = {"missing": sorted(set(self.classes) - given), "unknown": sorted(given - set(self.classes))}
            raise Flaw(
                f"{kinds[0]} must be an object with a number for every class"
                + "".join(f"; {what}: {', '.join(names[:5])}" for what, names in differing.items() if names)
            )
        return self.of_numbers([value[name] for name in self.classes], kinds == ["logits"])


def _label(value: Any, position: Mapping[str, int]) -> Answer:
    """Convert a class name, or a class index if the value is an integer, to a prediction without probabilities."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(position):
        return np.array(value, np.int64)
    name = nfc(value.strip()) if isinstance(value, str) else ""
    name = name if name in position else re.sub(r"^(-?\d+)\.0+$", r"\1", name)  # pandas writes 1 as 1.0
    if name in position:
        return np.array(position[name], np.int64)
    names = list(position)
    raise Flaw(f"the label is {value!r}; expected one of {', '.join(names[:8])}{', …' if len(names) > 8 else ''}")


def _rows(path: Path, kind: _Kind, faults: list[Fault]) -> Iterator[tuple[str, str, Answer | None]]:
    plain = list(files.by_text(kind.classes, "classes", path))
    tables.open_table(path, ("key",))  # raises an error if the table can't be read
    columns: Sequence[str]
    for columns in ([_LOGIT + name for name in plain], plain, *([] if kind.multi_label else [["label"]])):
        with contextlib.suppress(DataError):
            table = tables.open_table(path, ("key", *columns))
            break
    else:
        raise DataError(
            f"{path}: unknown header; expected the column key and a column for each of the {len(plain)} classes "
            f"({', '.join(plain[:5])}{', …' if len(plain) > 5 else ''}) with its probability, or named {_LOGIT}CLASS with its logit"
            + ("" if kind.multi_label else "; or the columns key and label")
        )
    position = {name: index for index, name in enumerate(plain)}
    logits = columns[0].startswith(_LOGIT) and columns[0] not in position
    for row in table.rows(faults, () if columns == ["label"] != plain else columns):
        strange = [name for name in row.values if logits and name.startswith(_LOGIT) and name not in columns]
        if strange:
            raise DataError(f"{path}: the column {strange[0]!r} belongs to no class; the classes are {', '.join(plain[:8])}")
        answer = None
        try:
            values = [row.values[name] for name in columns]
            answer = _label(values[0], position) if columns == ["label"] != plain else kind.of_numbers(values, logits)
        except Flaw as flaw:
            faults.append(row.fault(flaw))
        yield row.place, row.values["key"], answer
    files.report(path, table.notes)


def _table(answers: Mapping[str, Answer], classes: tuple[str, ...], suffix: str) -> str:
    delimiter = "\t" if suffix == ".tsv" else ","
    if _labels_alone(answers):
        return tables.as_csv(("key", "label"), ((key, classes[int(label)]) for key, label in answers.items()), delimiter)
    # for a float32, str returns the shortest text that identifies the number
    rows = ([key, *map(str, np.asarray(logits, np.float32))] for key, logits in answers.items())
    return tables.as_csv(["key", *(_LOGIT + name for name in classes)], rows, delimiter)


def _labels_alone(answers: Mapping[str, Answer]) -> bool:
    """Return whether the predictions are only classes, without probabilities, as from a majority vote."""
    return len(answers) > 0 and all(np.ndim(answer) == 0 for answer in answers.values())


def _write_parquet(path: Path, answers: Mapping[str, Answer], classes: tuple[str, ...]) -> None:
    columns: dict[str, Any] = {"key": list(answers)}
    if _labels_alone(answers):
        columns["label"] = [classes[int(label)] for label in answers.values()]
    else:
        logits = np.stack([np.asarray(row, np.float32) for row in answers.values()])
        columns |= {_LOGIT + name: logits[:, index] for index, name in enumerate(classes)}
    files.write_parquet(path, columns)


def _json_lines(answers: Mapping[str, Answer], classes: tuple[str, ...]) -> str:
    # every float32 is exactly representable in float64, which JSON text preserves
    entries = (
        {"key": key, "label": classes[int(row)]}
        if np.ndim(row) == 0
        else {"key": key, "logits": dict(zip(classes, np.asarray(row, np.float32).tolist(), strict=True))}
        for key, row in answers.items()
    )
    return "".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n" for entry in entries)


FILES = AnswerFiles(SUFFIXES, read, write)
MULTI_LABEL_FILES = AnswerFiles(SUFFIXES, partial(read, multi_label=True), write)
