"""Files of detections in COCO's results format: a JSON list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`.

If the dataset has ids (`coco:`), `image_id` and `category_id` are these ids. Otherwise, `image_id` is the key of an image, or its file name
without folder and suffix if that is unique, and `category_id` is the name of a class. Keys and names are also accepted for `coco:`
datasets. An image without entries counts as an image without detections, because the format has no other way to express that.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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
from zoo.tasks.detection.data.coco import NumberedDataset

SUFFIXES = (".json",)
_NEEDED = ("image_id", "category_id", "bbox", "score")
_LOG = logging.getLogger("zoo")

Answer = Mapping[str, NDArray[Any]]


def read(path: Path, dataset: Dataset, classes: tuple[str, ...]) -> dict[str, Answer]:
    """Read the detections of every image in a dataset, by key. Those of an image are in the order of the file.

    Entries for images and classes that are excluded from the dataset by `limit=`, by `classes=` or because of an annotation error are
    ignored, and their number is logged.

    Raises:
        DataError: the file can't be read, or entries are invalid; the message lists them.
    """
    names = _Names.of(dataset, classes)
    rows: dict[str, list[tuple[float, ...]]] = {key: [] for key in dataset.keys}
    faults: list[Fault] = []
    passed_over = 0
    with no_collector():
        for number, entry in enumerate(_entries(path)):
            try:
                key, label, row = names.checked(entry)
            except Flaw as flaw:
                faults.append(flaw.at(f"{path} entry {number}", f"entry {number}"))
                continue
            if key in rows and label is not None:
                rows[key].append((*row, label))
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
    columns = {key: np.array(found, np.float64).reshape(-1, 6) for key, found in rows.items()}
    return {key: {"boxes": part[:, :4], "scores": part[:, 4], "labels": part[:, 5].astype(np.int64)} for key, part in columns.items()}


def write(path: Path, answers: Mapping[str, Answer], dataset: Dataset, classes: tuple[str, ...]) -> None:
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
        }
        for key in dataset.keys
        if key in answers
        for box, score, label in zip(*(answers[key][name].tolist() for name in ("boxes", "scores", "labels")), strict=True)
    ]
    write_text(path, json.dumps(entries, allow_nan=False) + "\n")


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


FILES = AnswerFiles(SUFFIXES, read, write)
