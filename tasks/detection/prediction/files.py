"""Files of detections in COCO's results format: a JSON list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`.

If the dataset has ids (`coco:`), `image_id` and `category_id` are these ids. Otherwise, `image_id` is the key of an image, or its file name
without folder and suffix if that is unique, and `category_id` is the name of a class. Keys and names are also accepted for `coco:`
datasets. An image without entries counts as an image without detections, because the format has no other way to express that.

The entries of a model with attributes also have `attributes`: for each attribute, the probability of each value by name.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.coco.ids import Ids
from zoo.data.coco.parsing import are_four_numbers
from zoo.data.dataset import Dataset
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, Flaw, InputError
from zoo.system.files import write_text
from zoo.system.memory import no_collector
from zoo.task.answers import AnswerFiles
from zoo.tasks.detection.attributes import Attributes
from zoo.tasks.detection.data.coco import NumberedDataset

SUFFIXES = (".json",)
_NEEDED = ("image_id", "category_id", "bbox", "score")
_LOG = logging.getLogger("zoo")

Answer = Mapping[str, Any]


def files(attributes: Attributes) -> AnswerFiles:
    """Return the reader and writer for models with these attributes."""
    return AnswerFiles(SUFFIXES, partial(read, attributes=attributes), partial(write, attributes=attributes))


def read(path: Path, dataset: Dataset, classes: tuple[str, ...], attributes: Attributes = MappingProxyType({})) -> dict[str, Answer]:
    """Read the detections of every image in a dataset, by key. Those of an image are in the order of the file.

    Every entry must have the probabilities of all values of `attributes`; other attributes are ignored.

    Entries for images and classes that are excluded from the dataset by `limit=`, by `classes=` or because of an annotation error are
    ignored, and their number is logged.

    Raises:
        DataError: the file can't be read, or entries are invalid; the message lists them.
    """
    names = _Names.of(dataset, classes)
    rows: dict[str, list[tuple[float, ...]]] = {key: [] for key in dataset.keys}
    undeclared: set[str] = set()
    faults: list[Fault] = []
    passed_over = 0
    with no_collector():
        for number, entry in enumerate(_entries(path)):
            try:
                key, label, row = names.checked(entry)
                row += _probabilities(entry, attributes)
            except Flaw as flaw:
                faults.append(flaw.at(f"{path} entry {number}", f"entry {number}"))
                continue
            if isinstance(given := entry.get("attributes"), Mapping):
                undeclared |= given.keys() - attributes.keys()
            if key in rows and label is not None:
                rows[key].append((label, *row))
            else:
                passed_over += 1
    if faults:
        raise DataError(f"{path}: {len(faults)} invalid entries in the predictions (entries are counted from 0):", faults)
    for note in (*names.image_ids.notes, *names.category_ids.notes):
        _LOG.warning("%s: %s", path, note)
    if passed_over:
        _LOG.warning(
            "%s: %d detections belong to images or classes that are excluded from this dataset; they are not scored", path, passed_over
        )
    if undeclared:
        _LOG.warning("%s: attributes that aren't scored: %s; declare them with --attributes", path, ", ".join(sorted(undeclared)))
    width = 6 + sum(map(len, attributes.values()))
    return {key: _answer(np.array(found, np.float64).reshape(-1, width), attributes) for key, found in rows.items()}


def _answer(columns: NDArray[np.float64], attributes: Attributes) -> Answer:
    """Return a prediction from the columns label, left, top, right, bottom, score, and the probabilities of all attributes."""
    answer: dict[str, Any] = {"boxes": columns[:, 1:5], "scores": columns[:, 5], "labels": columns[:, 0].astype(np.int64)}
    ends = np.cumsum([6, *map(len, attributes.values())])
    parts = np.split(columns, ends[:-1], axis=1)[1:]
    values = {name: part.astype(np.float32) for name, part in zip(attributes, parts, strict=True)}
    return answer | ({"attributes": values} if values else {})


def _probabilities(entry: Mapping[str, Any], attributes: Attributes) -> tuple[float, ...]:
    """Return the probabilities of all values of all attributes in an entry; raise a `Flaw` if one is missing or invalid."""
    given = entry.get("attributes")
    found: list[float] = []
    for name, values in attributes.items():
        of_values = given.get(name) if isinstance(given, Mapping) else None
        numbers = [of_values.get(value) if isinstance(of_values, Mapping) else None for value in values]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
                shown = json.dumps(dict.fromkeys(values, 0.5), ensure_ascii=False)
                raise Flaw(f"the attribute {name!r} is {str(of_values)[:60]}; expected a probability for each value, such as {shown}")
            found.append(number)
    return tuple(found)


def write(
    path: Path,
    answers: Mapping[str, Answer],
    dataset: Dataset,
    classes: tuple[str, ...],
    attributes: Attributes = MappingProxyType({}),
) -> None:
    """Write detections so that `read` returns identical numbers. Without ids in the dataset, image keys and class names are written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: detections are written as COCO results; expected a file ending in .json, got {path.suffix!r}")
    pictures, categories = _numbers(dataset)
    image_ids = {key: identity for identity, key in pictures.items()}
    category_ids = {name: identity for identity, name in categories.items()}
    entries = [
        {
            "image_id": image_ids.get(key, key),
            "category_id": category_ids.get(classes[label], classes[label]),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score,
            **({"attributes": {name: dict(zip(attributes[name], row, strict=True)) for name, row in values.items()}} if values else {}),
        }
        for key in dataset.keys
        if key in answers
        for box, score, label, values in _objects(answers[key])
    ]
    write_text(path, json.dumps(entries, allow_nan=False) + "\n")


def _objects(answer: Answer) -> Iterator[tuple[list[float], float, int, dict[str, list[float]]]]:
    """Yield box, score, label and probabilities by attribute name of each detection."""
    columns = {name: values.tolist() for name, values in answer.get("attributes", {}).items()}
    for row, (box, score, label) in enumerate(zip(*(answer[name].tolist() for name in ("boxes", "scores", "labels")), strict=True)):
        yield box, score, label, {name: values[row] for name, values in columns.items()}


@dataclass(frozen=True)
class _Names:
    """Images and classes by the ids and names that a results file may contain."""

    pictures: Mapping[Any, str]  # image key by id or name
    labels: Mapping[Any, int | None]  # class index by id or name; None if the class is excluded from the dataset
    image_ids: Ids
    category_ids: Ids

    @classmethod
    def of(cls, dataset: Dataset, classes: tuple[str, ...]) -> _Names:
        pictures, categories = _numbers(dataset)
        keys = dict.fromkeys([*pictures.values(), *dataset.keys])
        stems = Counter(PurePosixPath(key).stem for key in keys)
        short = {PurePosixPath(key).stem: key for key in keys if stems[PurePosixPath(key).stem] == 1}
        label = {name: index for index, name in enumerate(classes)}
        by_name: dict[Any, int | None] = {name: label.get(name) for name in (*categories.values(), *classes)}
        by_id: dict[Any, int | None] = {identity: label.get(name) for identity, name in categories.items()}
        names, labels = {**short, **{key: key for key in keys}, **pictures}, {**by_name, **by_id}
        return cls(names, labels, Ids("image_id", names, "the dataset"), Ids("category_id", labels, "the dataset"))

    def checked(self, entry: Any) -> tuple[str, int | None, tuple[float, ...]]:
        """Return an entry's image key, its class index (None if excluded), and (left, top, right, bottom, score), or raise a `Flaw`."""
        missing = [name for name in _NEEDED if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise Flaw(f"has no {' and no '.join(missing)}; expected {', '.join(_NEEDED)}")
        box, score = entry["bbox"], entry["score"]
        picture, category = (nfc(entry[name]) if isinstance(entry[name], str) else entry[name] for name in ("image_id", "category_id"))
        image_id = self.image_ids.find(picture) if _is_name(picture) else None
        if image_id is None:
            raise Flaw(f"image_id is {picture!r}; the dataset has no such image")
        category_id = self.category_ids.find(category) if _is_name(category) else None
        if category_id is None:
            known = ", ".join(str(name) for name in list(self.labels)[:8]) + ", …" * (len(self.labels) > 8)
            raise Flaw(f"category_id is {category!r}; the dataset has no such class. Its classes are {known}")
        if not are_four_numbers(box):
            raise Flaw(f"bbox is {box!r}; expected four finite numbers: x, y, width, height")
        if box[2] < 0 or box[3] < 0:
            raise Flaw(f"bbox is {box!r}; expected x, y, width and height, with width and height of 0 or more")
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise Flaw(f"score is {score!r}; expected a finite number")
        return self.pictures[image_id], self.labels[category_id], (box[0], box[1], box[0] + box[2], box[1] + box[3], score)


def _is_name(value: Any) -> bool:
    return isinstance(value, int | str | float) and not isinstance(value, bool)


def _numbers(dataset: Dataset) -> tuple[Mapping[Any, str], Mapping[Any, str]]:
    """Return the image keys by id and the class names by id; empty if the dataset has no ids."""
    return (dataset.pictures, dataset.categories) if isinstance(dataset, NumberedDataset) else ({}, {})


def _entries(path: Path) -> Sequence[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, list):
        raise DataError(f"{path} does not contain a list; expected COCO results, a list of objects with {', '.join(_NEEDED)}")
    return content
