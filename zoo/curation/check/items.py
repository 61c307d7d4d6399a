"""Open a dataset with all its splits: samples, the splits of each sample, and annotation errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.curation.check.findings import Finding
from zoo.data import tables
from zoo.data.dataset import ATTRIBUTE, Dataset, Record
from zoo.data.folders import Folders
from zoo.data.formats import DataRef, recognise
from zoo.data.splits import split_kind
from zoo.errors import DataError, Fault, InputError, MixedSplitsError
from zoo.task.contract import Task


@dataclass(frozen=True)
class Item:
    """A sample with class names instead of indices."""

    key: str  # that of the record, prefixed with the split if the image has no file, because it is then unique only within a split
    record: Record
    splits: tuple[str, ...]  # splits that contain the sample; empty if the dataset has no splits
    labels: tuple[str, ...]  # names of the image's classes, or one class name per box; empty if unlabelled
    classes: tuple[str, ...]  # class names by index, to which the record's target refers
    boxes: NDArray[np.float32] | None = None  # [N, 4] xyxy in pixels; None if the task has no boxes
    plain: NDArray[np.bool_] | None = None  # whether a box is marked neither as crowd nor as difficult, [N]; None if there are no boxes
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # value for each box by attribute; "" if unknown

    @property
    def name(self) -> str:
        """The key, followed by the splits if the key doesn't contain one."""
        shown = not self.splits or any(part in self.splits for part in Path(self.key).parts)
        return self.key if shown else f"{self.key} ({', '.join(self.splits)})"


@dataclass
class Opened:
    """A dataset with all its splits."""

    name: str  # dataset string, or name of a dataset object
    scheme: str = ""  # format of the dataset; "" for a sequence of samples
    path: Path | None = None  # folder or file in the dataset string; None if it doesn't exist
    whole: bool = True  # whether the whole dataset was requested, without `split=`, `classes=` and `limit=`
    links: str = "own"  # as in `DataRef`
    encoding: str | None = None  # of a table, if it was given
    pairs: tuple[Any, ...] = ()  # pairs of record keys, for datasets of face pairs
    items: list[Item] = field(default_factory=list)  # the samples, each with all its splits
    faults: list[Fault] = field(default_factory=list)  # annotation errors
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by split; the key "" stands for the dataset opened without a split
    findings: list[Finding] = field(default_factory=list)  # problems with opening splits
    notes: list[str] = field(default_factory=list)  # as in `Dataset`

    @property
    def filed(self) -> bool:
        """Whether every image is stored in a separate file."""
        return all(item.record.path is not None for item in self.items)

    @property
    def root(self) -> Path | None:
        """Dataset folder: `path`, or the parent of `path` if it is a file; None if `path` is None."""
        return self.path if self.path is None or self.path.is_dir() else self.path.parent


def open_all(data: object, task: Task, say: Callable[[str], None] | None = None) -> Opened:
    """Open a dataset and skip invalid samples. Without `split=`, all splits of the dataset are opened.

    If no sample is valid, the result has faults and no items.
    """
    if not isinstance(data, str | Path):
        given = task.open(data, "skip")
        opened = Opened(given.name)
        _add(opened, "", given, task)
        return opened
    ref = DataRef.of(data)
    path, whole = Path(ref.path).expanduser(), ref.split is None and ref.classes is None and ref.limit is None
    scheme = ref.scheme or recognise(ref, task.data.schemes, task.name, say)
    opened = Opened(ref.text, scheme, path if path.exists() else None, whole, ref.links, ref.options.get("encoding"))
    splits = task.data.schemes[scheme].splits or split_names
    names = splits(path) if ref.split is None else []
    refusal: InputError | None = None
    for split in ["", *names]:
        try:
            part = task.open(ref.of_split(split) if split else ref, "skip")
        except MixedSplitsError:
            raise
        except InputError as error:
            faults = error.faults if isinstance(error, DataError) else ()
            opened.faults += faults  # of a dataset or split without any valid sample
            if split and not faults:
                opened.findings.append(Finding("split", split, str(error)))
            elif not faults:
                refusal = error
            continue
        _add(opened, split or ref.split or "", part, task)
    if not opened.items and not opened.faults and refusal is not None:
        raise refusal
    opened.items = merged(opened.items)
    opened.faults = list(dict.fromkeys(opened.faults))
    opened.notes = list(dict.fromkeys(opened.notes))
    return opened


def _add(opened: Opened, split: str, part: Dataset, task: Task) -> None:
    splits = (split,) if split else ()
    items = [_item(record, part.classes, splits, task) for record in part.records]
    faults = part.skipped
    try:
        task.data.checked(part, part.classes)
    except DataError as error:
        faults = (*faults, *error.faults)
    if split and not any(item.record.path for item in items):
        items = [replace(item, key=f"{split}/{item.key}") for item in items]
        faults = tuple(replace(fault, key=f"{split}/{fault.key}") for fault in faults)
    opened.items += items
    opened.faults += faults
    opened.notes += part.notes
    opened.classes[split] = part.classes
    opened.pairs += tuple(getattr(part, "pairs", ()))


def _item(record: Record, classes: tuple[str, ...], splits: tuple[str, ...], task: Task) -> Item:
    target: Any = record.target
    labels = () if target is None else tuple(class_name(classes, label) for label in task.data.labels(target))
    if isinstance(target, Mapping):
        boxes = np.asarray(target["boxes"], dtype=np.float32).reshape(-1, 4)
        plain = np.ones(len(boxes), dtype=np.bool_)
        for name in ("iscrowd", "difficult"):
            plain &= ~np.asarray(target.get(name, np.zeros(len(boxes))), dtype=np.bool_)
        attributes = {
            name.removeprefix(ATTRIBUTE): tuple(map(str, values)) for name, values in target.items() if name.startswith(ATTRIBUTE)
        }
        return Item(record.key, record, splits, labels, classes, boxes, plain, attributes)
    return Item(record.key, record, splits, labels, classes)


def class_name(classes: Sequence[str], label: Any) -> str:
    """Return the name of a class, or its index if it has no name."""
    index = int(label)
    return classes[index] if 0 <= index < len(classes) else str(index)


def merged(items: Sequence[Item]) -> list[Item]:
    """Merge samples that appear in several splits, so that each sample occurs once, with all its splits."""
    known: dict[object, Item] = {}
    for item in items:
        # an image with two labels in a table is two samples, which must not be merged
        identity = (item.record.path or (item.key, item.splits), item.key, item.labels)
        before = known.get(identity)
        known[identity] = item if before is None else replace(before, splits=tuple(sorted({*before.splits, *item.splits})))
    return list(known.values())


_YAML_SPLIT = re.compile(r"^(train|val|test)\s*:\s*\S", re.MULTILINE)


def split_names(path: Path) -> list[str]:
    """Detect the names of the splits of a dataset.

    A split is a folder, a COCO file, a key in `data.yaml`, an entry of a saved Hugging Face dataset, or a value in the column split of a
    table.
    """
    try:
        if path.is_file() and path.suffix.lower() in tables.SUFFIXES:
            return tables.split_names(path)
        yaml = path / "data.yaml" if path.is_dir() else path
        if yaml.is_file():
            return list(dict.fromkeys(_YAML_SPLIT.findall(yaml.read_text(encoding="utf-8"))))
        if (path / "dataset_dict.json").is_file():
            return [str(name) for name in json.loads((path / "dataset_dict.json").read_bytes())["splits"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # the reader reports the error
    if not path.is_dir():
        return []
    folders = Folders(path)
    names = [folder.name for folder in folders.subfolders(path)]
    names += [file.stem.removeprefix("instances_") for file in sorted(path.glob("annotations/instances_*.json"))]
    names += [name for name in ("train", "test") if (path / f"pairsDev{name.title()}.txt").is_file()]
    names += [folder.name for folder in folders.subfolders(path / "images")] if (path / "images").is_dir() else []
    return [name for name in dict.fromkeys(names) if split_kind(name)]
