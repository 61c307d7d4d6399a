"""The `coco:` format: a folder of images and an instances file in COCO's JSON format."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.coco.file import CocoFile
from zoo.data.coco.layout import recognise, recognise_file
from zoo.data.coco.parsing import annotation_of, are_four_numbers, is_number
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, Flaw, ImageError
from zoo.images import decoding
from zoo.system.wording import counted
from zoo.tasks.detection.data.coco import NumberedDataset
from zoo.tasks.detection.data.frames import Annotated, Frame, Frames, find_frames, stated_size
from zoo.tasks.detection.data.outlines import box_of
from zoo.tasks.detection.data.targets import Target, attribute_fields, checked_box, keep_classes
from zoo.tasks.detection.datasets import SCHEMES

_COLUMNS = 12  # values per box: left, top, right, bottom, area, label, iscrowd, difficult, and x, y, width, height as annotated
_ENDLESS = (math.inf, math.inf)  # height and width of an image of unknown size


def open_coco(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in COCO's format: a folder, or its annotation file.

    The annotations of a folder are read from `annotations/instances_<split>.json`, `instances.json`, `_annotations.coco.json` or a similar
    file. If there are several such files, `split=` or `json=` (a path relative to the dataset folder) selects one. Images are searched for
    in `images=` (a folder, relative to the dataset folder) or in the folders that COCO, Roboflow and others use. An image's key is its
    `file_name`, or its longest existing trailing part if it is a path on another computer. The classes are the categories in the order of
    their ids, which may have gaps, without a parent of all others that no annotation uses (as Roboflow writes it). Images without
    annotations are kept as samples without objects. An annotation without `bbox` has the box that encloses its outline. The values in its
    `attributes`, which CVAT and others write, are attributes of the object. `frame=` is as in `find_frames`. The image files must exist,
    except when predictions from a file are scored (`DataRef.pictures`).
    """
    reader = _Reader.open(ref)
    dataset = finish(ref, reader.records(), reader.classes, reader.faults, on_error, keep_classes, reader.notes)
    category_ids = {category: reader.classes[label] for category, label in reader.label.items()}
    turned = {key: frame.orientation for key, frame in reader.frames.frames.items() if frame.orientation != 1}
    return NumberedDataset(**vars(dataset), pictures=reader.listed, categories=category_ids, annotations=reader.file, turned=turned)


@dataclass
class _Boxes:
    """Boxes of one image, stored compactly with 8 bytes per number."""

    rows: array[float] = field(default_factory=lambda: array("d"))  # `_COLUMNS` values per box
    ids: list[Any] = field(default_factory=list)  # annotation id of each box
    attributes: list[Mapping[str, Any]] = field(default_factory=list)  # attributes of each box

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
        return target | attribute_fields(self.attributes)


class _Reader(CocoFile):
    """Reader that converts the content of one instances file to records and collects annotation errors and notes."""

    def __post_init__(self) -> None:
        """Read the categories."""
        super().__post_init__()
        self.frames = Frames()

    def records(self) -> list[Record]:
        """Return one record per valid image."""
        pictures = dict(self._pictures())
        self.frames = find_frames(self.ref, list(pictures.values()), partial(self._boxes_in, pictures))
        for image_id, picture in list(pictures.items()):
            if picture.key in self.frames.flaws:
                self.lost(picture.key, self.frames.flaws[picture.key], f"image id {image_id}")
                del pictures[image_id]
        boxes = self._boxes(pictures)
        records = []
        for image_id, picture in pictures.items():
            records.append(Record(picture.key, picture.path, boxes.pop(image_id).target(), self.frames.size_hw(picture)))
        self.notes += [*self.frames.notes, *self.image_ids.notes, *self.category_ids.notes]
        return records

    def _pictures(self) -> Iterator[tuple[Any, Annotated]]:
        """Yield the id of each valid image with its key, its file, and its annotated size."""
        for key, path, image in self.images():
            picture = self._sized(key, image, path)
            if picture is not None:
                yield image["id"], picture

    def _sized(self, key: str, image: Mapping[str, Any], path: Path) -> Annotated | None:
        if (stated := stated_size(image.get("height"), image.get("width"))) is not None:
            return Annotated(key, path, stated)
        if not self.ref.pictures:
            return Annotated(key, path, None)
        try:
            return Annotated(key, path, None, decoding.header(path))
        except ImageError as error:
            self.lost(key, Flaw(error.reason, error.kind))
            return None

    def _boxes_in(self, pictures: Mapping[Any, Annotated], keys: Collection[str]) -> Iterator[tuple[str, Box]]:
        """Yield the key and the box (xyxy) of every annotation of some images."""
        for entry in self.content["annotations"] if keys else ():
            annotation = annotation_of(entry)
            picture = pictures.get(self.image_ids.match(annotation["image_id"]))
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
        for number, image_id, place, annotation in self.annotations():
            try:
                attributes = _attributes(annotation)
                boxes[image_id].rows.extend(self._row(annotation, ids, frames.get(image_id, lost)))
            except Flaw as flaw:
                self.faults.append(flaw.at(self.listed[image_id], place, before=f"{self.name}: {place}: "))
            else:
                boxes[image_id].ids.append(annotation.get("id", number))
                boxes[image_id].attributes.append(attributes)
                if not annotation.get("bbox"):
                    outlined.append(place)
        if outlined:
            shown = f"{counted(len(outlined), 'annotation')} without bbox, such as {outlined[0]}"
            self.notes.append(f"{shown}: their boxes enclose their outlines (segmentation)")
        return boxes

    def _row(self, annotation: Mapping[str, Any], ids: set[Any], frame: Frame) -> tuple[float, ...]:
        """Return the `_COLUMNS` values of an annotation, or raise a `Flaw` if it is invalid."""
        identity = annotation.get("id")
        if isinstance(identity, (list, dict)) or identity in ids:
            raise Flaw(f"the id {identity!r} occurs twice; expected unique ids", "repeated-id")
        if identity is not None:
            ids.add(identity)
        label = self.label_of(annotation)
        box = _box(annotation)
        checked = checked_box((box[0], box[1], box[0] + box[2], box[1] + box[3]), frame.size_hw)
        if frame.orientation != 1:
            checked = frame.upright(checked)
            left, top, right, bottom = frame.upright((box[0], box[1], box[0] + box[2], box[1] + box[3]))
            box = [left, top, right - left, bottom - top]
        crowd, area = annotation.get("iscrowd", 0), annotation.get("area", box[2] * box[3])
        if not is_number(area) or area < 0 or crowd not in (0, 1):
            raise Flaw(f"area is {area!r} and iscrowd {crowd!r}; expected an area in square pixels, and 0 or 1")
        return *checked, area, label, crowd, annotation.get("difficult", 0) in (1, True), *box


def _attributes(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the attributes of an annotation; raise a `Flaw` if they aren't an object."""
    attributes = annotation.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise Flaw(f"attributes is {str(attributes)[:60]}; expected an object with names and values")
    return attributes


def _box(annotation: Mapping[str, Any]) -> list[float]:
    """Return the box (x, y, width, height) of an annotation, or that of its outline if it has none; raise a `Flaw` if it is invalid."""
    box: list[float] = annotation.get("bbox") or []
    if not box and annotation.get("segmentation"):
        return box_of(annotation["segmentation"])
    if not are_four_numbers(box):
        raise Flaw(f"bbox is {box!r}; expected four finite numbers: x, y, width, height")
    return box


SCHEMES.add("coco", Scheme("coco", open_coco, recognise, options=("json", "images", "frame"), recognise_file=recognise_file))
