"""`coco:` – a folder of pictures and an instances file in COCO's JSON format."""

from __future__ import annotations

import gc
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo import images
from zoo.data import Dataset, OnError, Record
from zoo.data_ref import DataRef
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.schemes import Scheme, finish
from zoo.tasks.detection.datasets import SCHEMES
from zoo.tasks.detection.targets import Target, checked_box, keep_classes, safe_name

_OTHER_KINDS = re.compile(r"^(captions|person_keypoints|stuff|panoptic|image_info)_")
_HUGE = 1e12  # no coordinate or area; NaN is not below it either
_PARTS = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id", "bbox"), "categories": ("id", "name")}


def open_coco(ref: DataRef, on_error: OnError) -> Dataset:
    """Read an instances file.

    The file is `annotations/instances_<split>.json`, `instances.json`, `_annotations.coco.json` or the like; where there are several,
    `split=` or `json=` (a file, relative to the folder) says which. Pictures are looked for in `images=` (a folder, relative
    to the data's), or in the folders that COCO, Roboflow and others keep them in. The key is the `file_name`. Classes are the
    categories in the order of their ids, which may have gaps. Pictures without annotations are samples like any other.

    Raises:
        DataError: no such file, one that isn't COCO's, or faults.
        InputError: several files and no word which.
    """
    root = ref.folder()
    file = _choose(ref, root)
    with _no_collector():
        reader = _Reader(root, file, _folders(ref, root, file), _read(ref, file))
        records = reader.records()
    return finish(ref, records, reader.classes, reader.faults, on_error, keep_classes)


def recognise(path: Path) -> str | None:
    """Return why a folder looks like COCO's, or None."""
    names = [file for file in _candidates(path) if file.name.startswith("instances") or file.name == "_annotations.coco.json"]
    return f"it holds {names[0].relative_to(path).as_posix()}" if names else None


def _candidates(root: Path) -> list[Path]:
    found = [*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")]
    return sorted(file for file in found if not _OTHER_KINDS.match(file.name))


def _splits(root: Path, file: Path) -> set[str]:
    """Return the names of the split that a file stands for; the year of COCO's own files may be left out."""
    stem = file.stem.removeprefix("instances_")
    return {stem, re.sub(r"\d{4}$", "", stem), file.parent.relative_to(root).as_posix()}


def _choose(ref: DataRef, root: Path) -> Path:
    if "json" in ref.options:
        file = root / ref.options["json"]
        if not file.is_file():
            raise DataError(f"data {ref.text!r}: json is {ref.options['json']!r}; there is no such file in {root}")
        return file
    candidates = _candidates(root)
    names = ", ".join(file.relative_to(root).as_posix() for file in candidates) or "none"
    chosen = [file for file in candidates if ref.split is None or ref.split in _splits(root, file)]
    if len(chosen) == 1:
        return chosen[0]
    if not candidates:
        raise DataError(f"data {ref.text!r}: {root} has no instances file; expected annotations/instances_<split>.json or instances.json")
    if not chosen:
        raise InputError(f"data {ref.text!r}: no instances file for the split {ref.split!r} in {root}; its JSON files are: {names}")
    raise InputError(f"data {ref.text!r}: several files could be meant in {root}: {names}. Say which with ?split=… or ?json=…")


def _read(ref: DataRef, file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the file's three lists, each entry with the keys that matter."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_without_outline)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"data {ref.text!r}: {file} can't be read as JSON ({error})") from error
    for part, needed in _PARTS.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"data {ref.text!r}: {file} has no list {part!r}; expected COCO's images, annotations and categories")
        identities, every = [key for key in needed if key.endswith("id")], set(needed)
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not entry.keys() >= every:
                missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
                raise DataError(f"data {ref.text!r}: {file}: {part}[{number}] has no {' and no '.join(missing)}")
            for key in identities:
                if not isinstance(entry[key], (int, str)):
                    raise DataError(f"data {ref.text!r}: {file}: {part}[{number}]: {key} is {entry[key]!r}; expected a whole number")
    return content  # type: ignore[no-any-return]  # just checked


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Forget an object's outline while the file is read: it is most of the file, and many times as much in memory."""
    entry.pop("segmentation", None)
    return entry


@contextmanager
def _no_collector() -> Iterator[None]:
    """Switch the collector of cycles off: annotations have none, and it would walk over them again and again (twice the time)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _folders(ref: DataRef, root: Path, file: Path) -> list[Path]:
    if "images" in ref.options:
        folder = root / ref.options["images"]
        if not folder.is_dir():
            raise DataError(f"data {ref.text!r}: images is {ref.options['images']!r}; there is no such folder in {root}")
        return [folder]
    split = ref.split or file.stem.removeprefix("instances_")
    stem = file.stem.removeprefix("instances_")
    places = [root / stem, root / split, root / "images" / stem, root / "images" / split, file.parent, root / "images", root]
    return [folder for folder in dict.fromkeys(places) if folder.is_dir()]


@dataclass
class _Reader:
    """Turns the lists of one file into records, and collects what is wrong."""

    root: Path
    file: Path
    folders: list[Path]
    content: Mapping[str, list[dict[str, Any]]]
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count the classes in the order of their ids."""
        self.name = self.file.relative_to(self.root).as_posix() if self.file.is_relative_to(self.root) else str(self.file)
        categories = sorted(self.content["categories"], key=lambda category: (isinstance(category["id"], str), category["id"]))
        self.label = {category["id"]: index for index, category in enumerate(categories)}
        self.classes = tuple(str(category["name"]) for category in categories)
        for kind, values in (("ids", [category["id"] for category in categories]), ("names", self.classes)):
            repeated = [str(value) for value, count in Counter(values).items() if count > 1]
            if repeated:
                raise DataError(f"{self.file}: several categories share the {kind} {', '.join(repeated)}; expected different ones")

    def records(self) -> list[Record]:
        """Return one record per picture that is there."""
        pictures = dict(self._pictures())
        boxes = self._boxes(pictures)
        return [Record(key, path, _target(boxes[image_id])) for image_id, (key, path, _) in pictures.items()]

    def _pictures(self) -> Iterator[tuple[Any, tuple[str, Path, tuple[int, int]]]]:
        """Yield the id of each picture with its key, file, height and width."""
        ids: set[Any] = set()
        keys: set[str] = set()
        self.listed = {image["id"]: str(image["file_name"]) for image in self.content["images"]}
        for image in self.content["images"]:
            key = str(image["file_name"])
            if image["id"] in ids or key in keys:
                self._fault(key, f"image id {image['id']}: the id or the file name is there twice; expected different ones", whole=True)
                continue
            ids.add(image["id"])
            keys.add(key)
            found = self._locate(key)
            size_hw = None if found is None else self._size(key, image, found)
            if found is not None and size_hw is not None:
                yield image["id"], (key, found, size_hw)

    def _locate(self, key: str) -> Path | None:
        if not safe_name(key):
            self._fault(key, "the file name leads out of the data's folder; expected a path inside it", whole=True)
            return None
        for folder in self.folders:
            if os.path.isfile(folder / key):  # unlike Path.is_file, false for a name that is too long
                return folder / key
        looked = ", ".join(folder.relative_to(self.root).as_posix() for folder in self.folders if folder.is_relative_to(self.root))
        self._fault(key, f"the picture is missing; looked for it in: {looked or self.folders[0]}", whole=True)
        return None

    def _size(self, key: str, image: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
        height, width = image.get("height"), image.get("width")
        if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
            return height, width
        try:
            return images.size(path)
        except ImageError as error:
            self._fault(key, error.reason, whole=True)
            return None

    def _boxes(self, pictures: Mapping[Any, tuple[str, Path, tuple[int, int]]]) -> dict[Any, list[tuple[Any, ...]]]:
        """Return (box, label, iscrowd, area, id) per picture."""
        boxes: dict[Any, list[tuple[Any, ...]]] = {image_id: [] for image_id in self.listed}
        ids: set[Any] = set()
        sizes_hw = {image_id: size_hw for image_id, (_, _, size_hw) in pictures.items()}
        annotations = self.content["annotations"]
        for number, annotation in enumerate(annotations):
            annotations[number] = {}  # each is let go as soon as its row is made: half a million are 250 MiB
            image_id = annotation["image_id"]
            if image_id not in boxes:
                self._fault(self.name, f"{_named(annotation, number)} is for image_id {image_id}, which is not in images", own=True)
                continue
            row = self._row(number, annotation, ids, sizes_hw.get(image_id, (math.inf, math.inf)))
            if isinstance(row, str):
                self._fault(self.listed[image_id], f"{_named(annotation, number)}: {row}")
            else:
                boxes[image_id].append(row)
        return boxes

    def _row(self, number: int, annotation: Mapping[str, Any], ids: set[Any], size_hw: tuple[float, float]) -> tuple[Any, ...] | str:
        """Return box, label, iscrowd, area and id of an annotation, or what is wrong with it."""
        identity, category, box = annotation.get("id"), annotation["category_id"], annotation["bbox"]
        if isinstance(identity, (list, dict)) or identity in ids:
            return f"the id {identity!r} is there twice; expected different numbers"
        if identity is not None:
            ids.add(identity)
        if category not in self.label:
            return f"category_id is {category!r}; there is no such category"
        if not isinstance(box, list) or not _are_four_numbers(box):
            return f"bbox is {box!r}; expected four finite numbers: x, y, width, height"
        checked = checked_box((box[0], box[1], box[0] + box[2], box[1] + box[3]), size_hw)
        if isinstance(checked, str):
            return checked
        crowd, area = annotation.get("iscrowd", 0), annotation.get("area", box[2] * box[3])
        if not _is_number(area) or area < 0 or crowd not in (0, 1):
            return f"area is {area!r} and iscrowd {crowd!r}; expected square pixels, and 0 or 1"
        return checked, self.label[category], bool(crowd), float(area), annotation.get("id", number)

    def _fault(self, key: str, reason: str, whole: bool = False, own: bool = False) -> None:
        self.faults.append(Fault(key, reason if own else f"{self.name}: {reason}", whole))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _are_four_numbers(values: list[Any]) -> bool:
    if len(values) != 4 or not {int, float}.issuperset(map(type, values)):
        return False
    x, y, width, height = values
    return bool(-_HUGE < x < _HUGE and -_HUGE < y < _HUGE and -_HUGE < width < _HUGE and -_HUGE < height < _HUGE)


def _named(annotation: Mapping[str, Any], number: int) -> str:
    return f"annotation id {annotation['id']}" if "id" in annotation else f"annotations[{number}]"


def _target(rows: list[tuple[Any, ...]]) -> Target:
    boxes, labels, crowds, areas, ids = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    target: Target = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "iscrowd": np.array(crowds, np.bool_),
        "area": np.array(areas, np.float32),
    }
    if all(isinstance(identity, int) and abs(identity) < 2**63 for identity in ids):
        target["ids"] = np.array(ids, np.int64)
    return target


SCHEMES.add("coco", Scheme("coco", open_coco, recognise, options=("json", "images")))
