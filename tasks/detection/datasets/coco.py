"""The `coco:` format: a folder of images and an instances file in COCO's JSON format."""

from __future__ import annotations

import math
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import DataError, Fault, Flaw, ImageError, InputError
from zoo.images import decoding
from zoo.tasks.detection.data.coco import NumberedDataset, annotation_of, are_four_numbers, is_number, read_lists
from zoo.tasks.detection.data.targets import Target, checked_box, keep_classes, safe_name
from zoo.tasks.detection.datasets import SCHEMES

_OTHER_KINDS = re.compile(r"^(captions|person_keypoints|stuff|panoptic|image_info)_")
_COLUMNS = 12  # values per box: left, top, right, bottom, area, label, iscrowd, difficult, and x, y, width, height as annotated
_ENDLESS = (math.inf, math.inf)  # height and width of an image of unknown size


def open_coco(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in COCO's format.

    The annotations are read from `annotations/instances_<split>.json`, `instances.json`, `_annotations.coco.json` or a similar file. If
    there are several such files, `split=` or `json=` (a path relative to the dataset's folder) selects one. Images are searched for in
    `images=` (a folder, relative to the dataset's folder) or in the folders that COCO, Roboflow and others use. An image's key is its
    `file_name`. The classes are the categories in the order of their ids, which may have gaps. Images without annotations are kept as
    samples without objects. The image files must exist, except when predictions from a file are scored (`DataRef.pictures`).
    """
    root = ref.folder()
    file = _choose(ref, root)
    reader = _Reader(root, file, _folders(ref, root, file), read_lists(ref.text, file), ref.pictures)
    dataset = finish(ref, reader.records(), reader.classes, reader.faults, on_error, keep_classes)
    category_ids = {category: reader.classes[label] for category, label in reader.label.items()}
    return NumberedDataset(**vars(dataset), pictures=reader.listed, categories=category_ids, annotations=file)


def recognise(path: Path) -> str | None:
    """Return why a folder is recognised as a COCO dataset, or None if it isn't."""
    names = [file for file in _candidates(path) if file.name.startswith("instances") or file.name == "_annotations.coco.json"]
    return f"it contains {names[0].relative_to(path).as_posix()}" if names else None


def _candidates(root: Path) -> list[Path]:
    found = [*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")]
    own = sorted(file for file in found if not _OTHER_KINDS.match(file.name))
    return [file for file in own if not _is_list(file)] or own


def _is_list(file: Path) -> bool:
    """Return whether a JSON file contains a list, as results files do, which are often stored next to the annotation files."""
    try:
        with file.open("rb") as content:
            return content.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    except OSError:  # the error is reported when the file is read
        return False


def _splits(root: Path, file: Path) -> set[str]:
    """Return the split names of an instances file. COCO's original files match with or without the year: `train2017` or `train`."""
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
    raise InputError(f"data {ref.text!r}: several files match in {root}: {names}. Choose one with ?split=… or ?json=…")


def _folders(ref: DataRef, root: Path, file: Path) -> list[Path]:
    if "images" in ref.options:
        folder = root / ref.options["images"]
        if not folder.is_dir():
            raise DataError(f"data {ref.text!r}: images is {ref.options['images']!r}; there is no such folder in {root}")
        return [folder]
    stem = file.stem.removeprefix("instances_")
    split = ref.split or stem
    places = [root / stem, root / split, root / "images" / stem, root / "images" / split, file.parent, root / "images", root]
    return [folder for folder in dict.fromkeys(places) if folder.is_dir()]


@dataclass
class _Boxes:
    """Boxes of one image, stored compactly with 8 bytes per number."""

    rows: array[float] = field(default_factory=lambda: array("d"))  # `_COLUMNS` values per box
    ids: list[Any] = field(default_factory=list)  # annotation id of each box

    def target(self) -> Target:
        """Convert the boxes to a target. Annotation ids are included if all of them are 64-bit integers."""
        columns = np.array(self.rows).reshape(-1, _COLUMNS)
        target: Target = {
            "boxes": columns[:, :4].astype(np.float32),
            "labels": columns[:, 5].astype(np.int64),
            "iscrowd": columns[:, 6].astype(np.bool_),
            "difficult": columns[:, 7].astype(np.bool_),
            "area": columns[:, 4].astype(np.float32),
            "annotated": columns[:, [8, 9, 10, 11, 4]],
        }
        if all(isinstance(identity, int) and abs(identity) < 2**63 for identity in self.ids):
            target["ids"] = np.array(self.ids, np.int64)
        return target


@dataclass
class _Reader:
    """Reader that converts the content of one instances file to records and collects annotation errors."""

    root: Path
    file: Path
    folders: list[Path]
    content: Mapping[str, list[Any]]
    needs_pictures: bool
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.file.relative_to(self.root).as_posix() if self.file.is_relative_to(self.root) else str(self.file)
        categories = sorted(self.content["categories"], key=lambda category: (isinstance(category["id"], str), category["id"]))
        self.label = {category["id"]: index for index, category in enumerate(categories)}
        self.classes = tuple(str(category["name"]) for category in categories)
        for kind, values in (("ids", [category["id"] for category in categories]), ("names", self.classes)):
            repeated = [str(value) for value, count in Counter(values).items() if count > 1]
            if repeated:
                raise DataError(f"{self.file}: several categories share the {kind} {', '.join(repeated)}; expected unique ones")

    def records(self) -> list[Record]:
        """Return one record per valid image."""
        pictures = dict(self._pictures())
        boxes = self._boxes(pictures)
        return [
            Record(key, path, boxes.pop(image_id).target(), None if size_hw == _ENDLESS else (int(size_hw[0]), int(size_hw[1])))
            for image_id, (key, path, size_hw) in pictures.items()
        ]

    def _pictures(self) -> Iterator[tuple[Any, tuple[str, Path, tuple[float, float]]]]:
        """Yield the id of each valid image with its key, its file, and its height and width in pixels."""
        ids: set[Any] = set()
        keys: set[str] = set()
        self.listed = {image["id"]: str(image["file_name"]) for image in self.content["images"]}
        for image in self.content["images"]:
            key = str(image["file_name"])
            if image["id"] in ids or key in keys:
                twice = Flaw("the id or the file name occurs twice; expected unique ones", "repeated-id")
                self._lost(key, twice, f"image id {image['id']}")
                continue
            ids.add(image["id"])
            keys.add(key)
            found = self._locate(key)
            size_hw = None if found is None else self._size(key, image, found)
            if found is not None and size_hw is not None:
                yield image["id"], (key, found, size_hw)

    def _locate(self, key: str) -> Path | None:
        if not safe_name(key):
            self._lost(key, Flaw("the file name is outside the dataset folder; expected a path inside it"))
            return None
        for folder in self.folders:
            if os.path.isfile(folder / key):  # unlike Path.is_file, returns False for a name that is too long
                return folder / key
        if not self.needs_pictures:
            return self.root / key
        looked = ", ".join(folder.relative_to(self.root).as_posix() for folder in self.folders if folder.is_relative_to(self.root))
        self._lost(key, Flaw(f"the image is missing; searched in {looked or self.folders[0]}", "no-picture"))
        return None

    def _size(self, key: str, image: Mapping[str, Any], path: Path) -> tuple[float, float] | None:
        height, width = image.get("height"), image.get("width")
        if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
            return height, width
        if not self.needs_pictures:
            return _ENDLESS
        try:
            return decoding.size(path)
        except ImageError as error:
            self._lost(key, Flaw(error.reason, error.kind))
            return None

    def _boxes(self, pictures: Mapping[Any, tuple[str, Path, tuple[float, float]]]) -> dict[Any, _Boxes]:
        """Return the boxes of each image by image id, and record invalid annotations as errors."""
        boxes: dict[Any, _Boxes] = {image_id: _Boxes() for image_id in self.listed}
        ids: set[Any] = set()
        annotations = self.content["annotations"]
        for number, entry in enumerate(annotations):
            annotations[number] = None  # frees the memory of each entry as soon as it is read
            annotation = annotation_of(entry)
            image_id = annotation["image_id"]
            place = f"annotation id {annotation['id']}" if "id" in annotation else f"annotations[{number}]"
            if image_id not in boxes:
                stray = Flaw(f" is for image_id {image_id}, which is not in images", "no-picture")
                self.faults.append(stray.at(self.name, place, before=place))
                continue
            size_hw = pictures[image_id][2] if image_id in pictures else _ENDLESS
            try:
                boxes[image_id].rows.extend(self._row(annotation, ids, size_hw))
            except Flaw as flaw:
                self.faults.append(flaw.at(self.listed[image_id], place, before=f"{self.name}: {place}: "))
            else:
                boxes[image_id].ids.append(annotation.get("id", number))
        return boxes

    def _row(self, annotation: Mapping[str, Any], ids: set[Any], size_hw: tuple[float, float]) -> tuple[float, ...]:
        """Return the `_COLUMNS` values of an annotation, or raise a `Flaw` if it is invalid."""
        identity, category, box = annotation.get("id"), annotation["category_id"], annotation["bbox"]
        if isinstance(identity, (list, dict)) or identity in ids:
            raise Flaw(f"the id {identity!r} occurs twice; expected unique ids", "repeated-id")
        if identity is not None:
            ids.add(identity)
        if category not in self.label:
            raise Flaw(f"category_id is {category!r}; there is no such category", "unknown-label")
        if not are_four_numbers(box):
            raise Flaw(f"bbox is {box!r}; expected four finite numbers: x, y, width, height")
        checked = checked_box((box[0], box[1], box[0] + box[2], box[1] + box[3]), size_hw)
        crowd, area = annotation.get("iscrowd", 0), annotation.get("area", box[2] * box[3])
        if not is_number(area) or area < 0 or crowd not in (0, 1):
            raise Flaw(f"area is {area!r} and iscrowd {crowd!r}; expected an area in square pixels, and 0 or 1")
        return *checked, area, self.label[category], crowd, annotation.get("difficult", 0) in (1, True), *box

    def _lost(self, key: str, flaw: Flaw, place: str = "") -> None:
        """Record an annotation error that causes the whole image to be dropped."""
        before = f"{self.name}: {place}: " if place else f"{self.name}: "
        self.faults.append(flaw.at(key, place, before=before, whole=True))


SCHEMES.add("coco", Scheme("coco", open_coco, recognise, options=("json", "images")))
