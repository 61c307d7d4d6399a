"""The `coco:` format: a folder of images and an instances file in COCO's JSON format."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.moved import MovedFiles
from zoo.data.names import nfc
from zoo.errors import Box, DataError, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.system.wording import counted
from zoo.tasks.detection.data.coco import NumberedDataset, annotation_of, are_four_numbers, is_number, read_lists
from zoo.tasks.detection.data.coco_layout import find_file, find_folders, find_root, recognise, recognise_file
from zoo.tasks.detection.data.frames import Annotated, Frame, Frames, find_frames
from zoo.tasks.detection.data.ids import Ids
from zoo.tasks.detection.data.outlines import box_of
from zoo.tasks.detection.data.targets import Target, checked_box, keep_classes, safe_name
from zoo.tasks.detection.datasets import SCHEMES

_COLUMNS = 12  # values per box: left, top, right, bottom, area, label, iscrowd, difficult, and x, y, width, height as annotated
_ENDLESS = (math.inf, math.inf)  # height and width of an image of unknown size


def open_coco(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in COCO's format: a folder, or its annotation file.

    The annotations of a folder are read from `annotations/instances_<split>.json`, `instances.json`, `_annotations.coco.json` or a similar
    file. If there are several such files, `split=` or `json=` (a path relative to the dataset folder) selects one. Images are searched for
    in `images=` (a folder, relative to the dataset folder) or in the folders that COCO, Roboflow and others use. An image's key is its
    `file_name`, or the longest end of it that exists, if it is a path of another computer. The classes are the categories in the order of
    their ids, which may have gaps, without a parent of all others that no annotation uses (as Roboflow writes it). Images without
    annotations are kept as samples without objects. An annotation without `bbox` has the box that encloses its outline. `frame=` is as in
    `find_frames`. The image files must exist, except when predictions from a file are scored (`DataRef.pictures`).
    """
    root = find_root(ref)
    file = find_file(ref, root)
    content = read_lists(ref.text, file)
    first = str(content["images"][0]["file_name"]) if content["images"] else ""
    source = PictureRoot(root, ref.links)
    folders = find_folders(ref, root, file, lambda folder: bool(first) and _holds(folder, first, source))
    reader = _Reader(ref, root, file, folders, source, content)
    dataset = finish(ref, reader.records(), reader.classes, reader.faults, on_error, keep_classes, reader.notes)
    category_ids = {category: reader.classes[label] for category, label in reader.label.items()}
    turned = {key: frame.orientation for key, frame in reader.frames.frames.items() if frame.orientation != 1}
    return NumberedDataset(**vars(dataset), pictures=reader.listed, categories=category_ids, annotations=file, turned=turned)


def _holds(folder: Path, name: str, source: PictureRoot) -> bool:
    try:
        return MovedFiles([folder], source).find(name) is not None
    except Flaw:  # a link that isn't followed, which the reader reports
        return True


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
    """Reader that converts the content of one instances file to records and collects annotation errors and notes."""

    ref: DataRef
    root: Path
    file: Path
    folders: list[Path]
    source: PictureRoot
    content: Mapping[str, list[Any]]
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.file.relative_to(self.root).as_posix() if self.file.is_relative_to(self.root) else str(self.file)
        self.frames = Frames()
        self.listed: dict[Any, str] = {}
        categories = sorted(self._categories(), key=lambda category: (isinstance(category["id"], str), category["id"]))
        self.label = {category["id"]: index for index, category in enumerate(categories)}
        self.classes = tuple(nfc(str(category["name"])) for category in categories)
        self._category_ids = Ids("category_id", self.label, "categories")
        for kind, values in (("ids", [category["id"] for category in categories]), ("names", self.classes)):
            repeated = [str(value) for value, count in Counter(values).items() if count > 1]
            if repeated:
                raise DataError(f"{self.file}: several categories share the {kind} {', '.join(repeated)}; expected unique ones")

    def _categories(self) -> list[Mapping[str, Any]]:
        """Return the categories without a parent of all others that no annotation uses."""
        categories: list[Mapping[str, Any]] = self.content["categories"]
        for parent in categories:
            others = [category for category in categories if category is not parent]
            if others and all(other.get("supercategory") == parent["name"] for other in others):
                used = Ids("category_id", [parent["id"]], "categories")
                if all(used.match(annotation_of(entry)["category_id"]) is None for entry in self.content["annotations"]):
                    text = (
                        f"the category {parent['name']!r} (id {parent['id']}) is only the parent of the others, and no annotation uses it"
                    )
                    self.notes.append(f"{text}: it was dropped")
                    return others
        return categories

    def records(self) -> list[Record]:
        """Return one record per valid image."""
        pictures = dict(self._pictures())
        self._image_ids = Ids("image_id", self.listed, "images")
        self.frames = find_frames(self.ref, list(pictures.values()), partial(self._boxes_in, pictures))
        for image_id, picture in list(pictures.items()):
            if picture.key in self.frames.flaws:
                self._lost(picture.key, self.frames.flaws[picture.key], f"image id {image_id}")
                del pictures[image_id]
        boxes = self._boxes(pictures)
        records = []
        for image_id, picture in pictures.items():
            records.append(Record(picture.key, picture.path, boxes.pop(image_id).target(), self.frames.size_hw(picture)))
        self.notes += [*self.frames.notes, *self._image_ids.notes, *self._category_ids.notes]
        return records

    def _pictures(self) -> Iterator[tuple[Any, Annotated]]:
        """Yield the id of each valid image with its key, its file, and its annotated size."""
        keys: set[str] = set()
        moved = MovedFiles(self.folders, self.source)
        ends: dict[str, str] = {}  # keys by file name, of those that aren't the file name
        for image in self.content["images"]:
            name = nfc(str(image["file_name"]))
            repeated, key, found = image["id"] in self.listed, name, None
            try:
                key, found = (name, None) if repeated else self._locate(name, moved)
            except Flaw as flaw:
                self._lost(name, flaw)
            self.listed.setdefault(image["id"], key)
            if repeated or key in keys:
                twice = Flaw("the id or the file name occurs twice; expected unique ones", "repeated-id")
                self._lost(key, twice, f"image id {image['id']}")
                continue
            keys.add(key)
            if key != name:
                ends[name] = key
            picture = None if found is None else self._sized(key, image, found)
            if picture is not None:
                yield image["id"], picture
        if ends:
            name, key = next(iter(ends.items()))
            self.notes.append(f"{counted(len(ends), 'image')} found by the end of the path in file_name, such as {name!r} as {key!r}")

    def _locate(self, name: str, moved: MovedFiles) -> tuple[str, Path | None]:
        """Return the key and the file of an image; None, and an error, if there is no such file. A link may raise a `Flaw`."""
        safe = safe_name(name)
        for folder in self.folders if safe else ():
            if (exact := self.source.file(folder / name)) is not None:
                return name, exact
        if (found := moved.find(name)) is not None:
            return found
        if safe and not self.ref.pictures:
            return name, self.root / name
        looked = ", ".join(folder.relative_to(self.root).as_posix() for folder in self.folders if folder.is_relative_to(self.root))
        reason = "the image is missing" if safe else "the file name is outside the dataset folder, and no end of it is a file inside"
        self._lost(name, Flaw(f"{reason}; searched in {looked or self.folders[0]}", "no-picture"))
        return name, None

    def _sized(self, key: str, image: Mapping[str, Any], path: Path) -> Annotated | None:
        height, width = image.get("height"), image.get("width")
        if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
            return Annotated(key, path, (height, width))
        if not self.ref.pictures:
            return Annotated(key, path, None)
        try:
            return Annotated(key, path, None, decoding.header(path))
        except ImageError as error:
            self._lost(key, Flaw(error.reason, error.kind))
            return None

    def _boxes_in(self, pictures: Mapping[Any, Annotated], keys: Collection[str]) -> Iterator[tuple[str, Box]]:
        """Yield the key and the box (xyxy) of every annotation of some images."""
        for entry in self.content["annotations"] if keys else ():
            annotation = annotation_of(entry)
            picture = pictures.get(self._image_ids.match(annotation["image_id"]))
            if picture is not None and picture.key in keys:
                with suppress(Flaw):
                    x, y, width, height = _box(annotation)
                    yield picture.key, (x, y, x + width, y + height)

    def _boxes(self, pictures: Mapping[Any, Annotated]) -> dict[Any, _Boxes]:
        """Return the boxes of each image by image id, and record invalid annotations as errors."""
        boxes: dict[Any, _Boxes] = {image_id: _Boxes() for image_id in self.listed}
        frames = {image_id: self.frames.of(picture) for image_id, picture in pictures.items()}
        lost = Frame(_ENDLESS)  # of images that were dropped
        outlined: list[str] = []
        ids: set[Any] = set()
        annotations = self.content["annotations"]
        for number, entry in enumerate(annotations):
            annotations[number] = None  # frees the memory of each entry as soon as it is read
            annotation = annotation_of(entry)
            given = annotation["image_id"]
            image_id = given if given in boxes else self._image_ids.find(given)
            place = f"annotation id {annotation['id']}" if "id" in annotation else f"annotations[{number}]"
            if image_id is None:
                stray = Flaw(f" is for image_id {given!r}, which is not in images{self._image_ids.unknown(given)}", "no-picture")
                self.faults.append(stray.at(self.name, place, before=place))
                continue
            try:
                boxes[image_id].rows.extend(self._row(annotation, ids, frames.get(image_id, lost)))
            except Flaw as flaw:
                self.faults.append(flaw.at(self.listed[image_id], place, before=f"{self.name}: {place}: "))
            else:
                boxes[image_id].ids.append(annotation.get("id", number))
                if not annotation.get("bbox"):
                    outlined.append(place)
        if outlined:
            shown = f"{counted(len(outlined), 'annotation')} without bbox, such as {outlined[0]}"
            self.notes.append(f"{shown}: their boxes enclose their outlines (segmentation)")
        return boxes

    def _row(self, annotation: Mapping[str, Any], ids: set[Any], frame: Frame) -> tuple[float, ...]:
        """Return the `_COLUMNS` values of an annotation, or raise a `Flaw` if it is invalid."""
        identity, given = annotation.get("id"), annotation["category_id"]
        if isinstance(identity, (list, dict)) or identity in ids:
            raise Flaw(f"the id {identity!r} occurs twice; expected unique ids", "repeated-id")
        if identity is not None:
            ids.add(identity)
        category = given if given in self.label else self._category_ids.find(given)
        if category is None:
            raise Flaw(f"category_id is {given!r}; there is no such category{self._category_ids.unknown(given)}", "unknown-label")
        box = _box(annotation)
        checked = checked_box((box[0], box[1], box[0] + box[2], box[1] + box[3]), frame.size_hw)
        if frame.orientation != 1:
            checked = frame.upright(checked)
            left, top, right, bottom = frame.upright((box[0], box[1], box[0] + box[2], box[1] + box[3]))
            box = [left, top, right - left, bottom - top]
        crowd, area = annotation.get("iscrowd", 0), annotation.get("area", box[2] * box[3])
        if not is_number(area) or area < 0 or crowd not in (0, 1):
            raise Flaw(f"area is {area!r} and iscrowd {crowd!r}; expected an area in square pixels, and 0 or 1")
        return *checked, area, self.label[category], crowd, annotation.get("difficult", 0) in (1, True), *box

    def _lost(self, key: str, flaw: Flaw, place: str = "") -> None:
        """Record an annotation error that causes the whole image to be dropped."""
        before = f"{self.name}: {place}: " if place else f"{self.name}: "
        self.faults.append(flaw.at(key, place, before=before, whole=True))


def _box(annotation: Mapping[str, Any]) -> list[float]:
    """Return the box (x, y, width, height) of an annotation, or that of its outline if it has none; raise a `Flaw` if it is invalid."""
    box: list[float] = annotation.get("bbox") or []
    if not box and annotation.get("segmentation"):
        return box_of(annotation["segmentation"])
    if not are_four_numbers(box):
        raise Flaw(f"bbox is {box!r}; expected four finite numbers: x, y, width, height")
    return box


SCHEMES.add("coco", Scheme("coco", open_coco, recognise, options=("json", "images", "frame"), recognise_file=recognise_file))
