"""The `yolo:` format: one text file per image with one box per line, with an Ultralytics `data.yaml`, or plain folders without one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, DataError, Fault, Flaw, ImageError
from zoo.images import decoding
from zoo.tasks.detection.data.frames import Annotated, find_frames
from zoo.tasks.detection.data.targets import as_target, checked_box, keep_classes
from zoo.tasks.detection.data.yolo.layout import (
    YAML_NAMES,
    Layout,
    corners,
    find_layout,
    is_bare,
    label_files,
    label_key,
    list_pictures,
    read_yaml,
)
from zoo.tasks.detection.datasets import SCHEMES

_PIXELS = 4.0  # threshold for coordinates: larger values are pixels, smaller ones fractions, even if the box exceeds the image


def open_yolo(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in YOLO's format.

    A label line is `class cx cy w h`: class index, centre and size, as fractions of the upright image's width and height. As in
    Ultralytics, an image without a label file has no objects. Without `data.yaml` and `classes.txt`, the class names are the class
    indices. `root=` sets the folder of the dataset, which otherwise follows from `data.yaml`. `frame=` is as in `find_frames`.
    """
    layout = find_layout(ref)
    names = layout.names or _numbered(layout)
    faults: list[Fault] = []
    images = []
    for key, file in list_pictures(layout, faults):
        try:
            images.append(Annotated(key, file, None, decoding.header(file)))
        except ImageError as error:
            faults.append(Fault(key, error.reason, whole=True, kind=error.kind))
    frames = find_frames(ref, images)
    records = []
    for image in images:
        frame = frames.of(image)
        boxes, labels = _objects(layout.root, label_key(image.key), frame.size_hw, len(names), faults)
        target = as_target({"boxes": [frame.upright(box) for box in boxes], "labels": labels}, image.key)
        records.append(Record(image.key, image.path, target, frames.size_hw(image)))
    return finish(ref, records, names, faults, on_error, keep_classes, [*layout.folders.notes, *frames.notes])


def _numbered(layout: Layout) -> tuple[str, ...]:
    """Return the class names "0", "1", … up to the highest class number in the labels of all splits."""
    highest = -1
    for file in label_files(layout.folders, layout.root.folder / "labels"):
        for line in file.read_bytes().splitlines():
            first = line.split(maxsplit=1)[:1]
            # a huge number is reported as an error in its line; it must not create a million classes
            if first and first[0].isdigit() and len(first[0]) < 6:
                highest = max(highest, int(first[0]))
    return tuple(str(index) for index in range(highest + 1))


def _objects(root: PictureRoot, key: str, size_hw: tuple[float, float], classes: int, faults: list[Fault]) -> tuple[list[Box], list[int]]:
    """Return the boxes, xyxy in pixels, and the labels of one image, and add invalid lines to `faults`."""
    boxes: list[Box] = []
    labels: list[int] = []
    if not os.path.lexists(root.disk.find(root.folder / key)):
        return boxes, labels
    try:
        lines = root.find(key, annotation=True)[1].read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # outside the folder, unreadable, or not text
        faults.append(Fault(key, f"the labels can't be read: {error}", kind="annotation"))
        return boxes, labels
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            box, label = _object(line.split(), size_hw, classes)
        except Flaw as flaw:
            faults.append(flaw.at(f"{key} line {number}", f"line {number}"))
        else:
            boxes.append(box)
            labels.append(label)
    return boxes, labels


def _object(values: Sequence[str], size_hw: tuple[float, float], classes: int) -> tuple[Box, int]:
    """Return the box, xyxy in pixels, and the label of one line, or raise a `Flaw`."""
    if len(values) != 5:
        polygon = len(values) > 6 and len(values) % 2
        hint = ". It looks like a segmentation polygon; this format accepts only boxes" if polygon else ""
        raise Flaw(f"has {len(values)} values; expected class cx cy w h{hint}")
    try:
        label, cx, cy, width, height = (float(value) for value in values)
    except ValueError:
        raise Flaw(f"is {' '.join(values)[:60]!r}; expected five numbers, class cx cy w h") from None
    if not label.is_integer() or not 0 <= label < classes:
        raise Flaw(f"the class is {values[0][:20]}; expected a whole number from 0 to {classes - 1}", "unknown-label")
    box = corners((cx, cy, width, height), size_hw)
    if not all(0 <= value <= 1 for value in (cx, cy, width, height)):
        raise _no_fractions((cx, cy, width, height), box, " ".join(values[1:])[:60])
    return checked_box(box, size_hw), int(label)


def _no_fractions(fractions: Box, box: Box, shown: str) -> Flaw:
    """Return the `Flaw` that describes coordinates outside 0–1."""
    reason = f"cx cy w h are {shown}; expected fractions of the image, from 0 to 1"
    if not all(map(math.isfinite, fractions)):
        return Flaw(reason)
    return Flaw(reason, "box-normalised") if max(map(abs, fractions)) > _PIXELS else Flaw(reason, "box-outside", box)


def _recognise(folder: Path) -> str | None:
    for name in YAML_NAMES:
        if (folder / name).is_file() and _recognise_file(folder / name):
            return f"it has a {name} that names classes"
    return "it has a folder images and text files in labels" if is_bare(folder) else None


def _recognise_file(file: Path) -> str | None:
    if file.suffix.lower() not in (".yaml", ".yml"):
        return None
    try:
        content = read_yaml(file)
    except DataError:
        return None
    return "it is a YAML file with names and train, val or test" if "names" in content and {"train", "val", "test"} & set(content) else None


SCHEMES.add("yolo", Scheme("yolo", open_yolo, _recognise, options=("root", "frame"), recognise_file=_recognise_file))
