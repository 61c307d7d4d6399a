"""The `voc:` format: annotation files as PASCAL VOC, LabelImg, Roboflow and CVAT write them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from xml.etree.ElementTree import Element

from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import listed
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.names import nfc
from zoo.data.voc.folder import Annotation, VocFolder, recognise, text
from zoo.data.voc.splits import choose, split_names
from zoo.errors import Box, DataError, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.system.wording import counted
from zoo.tasks.detection.data.frames import Annotated, Frame, find_frames, stated_size
from zoo.tasks.detection.data.targets import Labelled, area_of, checked_box, keep_classes, target_of
from zoo.tasks.detection.datasets import SCHEMES

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_NO_ATTRIBUTES = {"name", "difficult", "iscrowd", "area", "bndbox"}  # elements of an object with another meaning


def open_voc(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in the layout of PASCAL VOC, or with its annotation files beside the images or in a parallel folder.

    `split=` names a list in ImageSets/Main or a folder (`train`, `val`, …). Without it, all annotations are read; if all of them are in
    folders of splits, it is required. Box coordinates are used as written, in pixels: 1 is not subtracted, although PASCAL's original files
    count pixels from 1. The classes are all names in the annotations, sorted, or in the order of a `classes.txt`. They are the same for all
    splits. Objects marked as difficult are kept with this mark: they are excluded from training, and evaluation counts them neither as
    found nor as missed. An image's key is its path in the dataset's folder. The elements `iscrowd` and `area`, which VOC doesn't define,
    have the same meaning as in COCO. The other elements of an object, such as `pose`, are its attributes, and so are CVAT's `attributes`.
    `frame=` is as in `find_frames`.
    """
    folder = VocFolder(ref.folder(), ref.links)
    if not folder.annotations:
        expected = "expected VOC's folder Annotations, or XML files beside the images"
        raise DataError(f"data {ref.text!r}: {folder.root} has no folder Annotations, and contains no XML files; {expected}")
    split = choose(ref, folder)
    reader = _Reader(ref, folder, split.faults)
    records = reader.records(split.annotations)
    notes = [*folder.notes, *folder.walk.notes]
    if not split.listed and (left := folder.without_annotation(split.annotations)):
        notes.append(f"images without an annotation file, which aren't samples: {listed(left)}")
    return finish(ref, records, reader.classes, [*reader.faults, *folder.walk.faults], on_error, keep_classes, [*notes, *reader.notes])


@dataclass
class _Reader:
    """Reader that converts annotations to records and collects annotation errors."""

    ref: DataRef
    folder: VocFolder
    faults: list[Fault]
    notes: list[str] = field(default_factory=list)
    enclosed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Collect the class names of all annotations, even of those outside the selected split, because they cover the whole dataset."""
        found = self.folder.annotations
        unreadable = [each.flaw.at(each.key, whole=True) for each in found if each.tree is None and each.flaw is not None]
        self.faults[:0] = unreadable
        names = (text(entry, "name") for each in found if each.tree is not None for entry in each.tree.iter("object"))
        self.classes = in_order(sorted({name for name in names if name}), self.folder.root)
        self.label = {name: index for index, name in enumerate(self.classes)}

    def records(self, chosen: Sequence[Annotation]) -> list[Record]:
        """Return one record for each of the chosen annotations that is valid."""
        found = {annotation.key: annotation for annotation in chosen if annotation.tree is not None}
        images = {key: image for key, annotation in found.items() if (image := self._image(annotation)) is not None}
        by_image = {image.key: found[key] for key, image in images.items()}
        frames = find_frames(self.ref, list(images.values()), partial(_boxes_of, by_image))
        self.notes += frames.notes
        records = []
        for key, image in images.items():
            if image.key in frames.flaws:
                self.faults.append(frames.flaws[image.key].at(key, before=f"{image.key}: ", whole=True))
                continue
            target = target_of(list(self._objects(found[key], frames.of(image))))
            records.append(Record(image.key, image.path, target, frames.size_hw(image)))
        if self.enclosed:
            shown = f"{counted(len(self.enclosed), 'object')} without bndbox, such as in {self.enclosed[0]}"
            self.notes.append(f"{shown}: their boxes enclose their rotated boxes or polygons")
        return records

    def _image(self, annotation: Annotation) -> Annotated | None:
        path = annotation.picture
        if path is None:
            assert annotation.flaw is not None
            self.faults.append(annotation.flaw.at(annotation.key, whole=True))
            return None
        assert annotation.tree is not None
        key = path.relative_to(self.folder.root).as_posix()
        stated = stated_size(text(annotation.tree, "size/height"), text(annotation.tree, "size/width"))
        try:
            return Annotated(key, path, stated, None if stated else decoding.header(path))
        except ImageError as error:
            self.faults.append(Fault(annotation.key, f"its image {path.name} {error.reason}", whole=True, kind=error.kind))
            return None

    def _objects(self, annotation: Annotation, frame: Frame) -> Iterator[Labelled]:
        """Yield every valid object."""
        assert annotation.tree is not None
        for number, entry in enumerate(annotation.tree.iter("object"), start=1):
            name = text(entry, "name")
            try:
                # VOC's original files have no areas; `zoo data convert` writes the areas of masks
                box, area = frame.upright(_box(entry, name, frame.size_hw)), area_of(text(entry, "area"))
            except Flaw as flaw:
                place = f"object {number}"
                self.faults.append(flaw.at(annotation.key, place, before=f"{place} ({name or '?'}): "))
            else:
                if entry.find("bndbox") is None:
                    self.enclosed.append(annotation.key)
                crowd, difficult = text(entry, "iscrowd") == "1", text(entry, "difficult") == "1"
                yield box, self.label[nfc(name)], crowd, difficult, area, dict(_attributes(entry))


def _attributes(entry: Element) -> Iterator[tuple[str, str]]:
    """Yield the attributes of an object: sub-elements such as `pose`, and CVAT's `attributes` with pairs of `name` and `value`."""
    for element in entry:
        if element.tag not in _NO_ATTRIBUTES and not len(element) and element.text and element.text.strip():
            yield element.tag, element.text
    for pair in entry.iterfind("attributes/attribute"):
        if name := text(pair, "name"):
            yield name, text(pair, "value")


def _boxes_of(annotations: Mapping[str, Annotation], keys: Collection[str]) -> Iterator[tuple[str, Box]]:
    """Yield the key and the box of every valid object of some images."""
    for key in keys:
        tree = annotations[key].tree
        for entry in tree.iter("object") if tree is not None else ():
            with suppress(Flaw):
                yield key, _box(entry, "?", (math.inf, math.inf))


def _box(entry: Element, name: str, size_hw: tuple[float, float]) -> Box:
    if not name:
        raise Flaw("the object has no name", "unknown-label")
    if entry.find("bndbox") is None and (enclosing := _enclosing(entry)) is not None:
        return checked_box(enclosing, size_hw)
    values = [text(entry, f"bndbox/{side}") for side in _SIDES]
    try:
        sides = [float(value) for value in values]
    except ValueError:
        shown = ", ".join(f"{side}={value!r}" for side, value in zip(_SIDES, values, strict=True))
        raise Flaw(f"bndbox is {shown}; expected four numbers") from None
    return checked_box(sides, size_hw)


def _enclosing(entry: Element) -> Box | None:
    """Return the box that encloses roLabelImg's rotated box or a polygon; None if the object has neither."""
    turned, outline = entry.find("robndbox"), entry.find("polygon")
    try:
        if turned is not None:
            cx, cy, width, height, angle = (float(text(turned, name)) for name in ("cx", "cy", "w", "h", "angle"))  # radians
            x = (abs(width * math.cos(angle)) + abs(height * math.sin(angle))) / 2
            y = (abs(width * math.sin(angle)) + abs(height * math.cos(angle))) / 2
            return cx - x, cy - y, cx + x, cy + y
        if outline is not None:
            points = [element for element in outline.iter() if element.text and element.text.strip()]
            xs, ys = ([float(point.text or "") for point in points if point.tag.startswith(axis)] for axis in "xy")
            return (min(xs), min(ys), max(xs), max(ys)) if xs and ys else None
    except (ValueError, OverflowError):
        raise Flaw("the rotated box or polygon isn't made of numbers") from None
    return None


SCHEMES.add("voc", Scheme("voc", open_voc, recognise, options=("frame",), splits=split_names))
