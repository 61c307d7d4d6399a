"""The `yolo:` format: one text file per image with one object per line, as Ultralytics, Darknet, Roboflow, CVAT and others write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, DataError, Fault, Flaw, ImageError, InputError
from zoo.images import decoding
from zoo.system.files import read_text
from zoo.system.wording import counted
from zoo.tasks.detection.data.frames import Annotated, find_frames
from zoo.tasks.detection.data.targets import as_target, keep_classes
from zoo.tasks.detection.data.yolo.description import find_description, recognise_description
from zoo.tasks.detection.data.yolo.labels import Labels, is_labels, label_files
from zoo.tasks.detection.data.yolo.layout import Layout, find_layout, is_bare, list_pictures, orphans, split_names
from zoo.tasks.detection.data.yolo.lines import LineReader, dota_class, find_keypoints, is_dota, is_header
from zoo.tasks.detection.data.yolo.places import lists_images
from zoo.tasks.detection.datasets import SCHEMES

_LOOKED = 200  # label files by which poses are recognised


def open_yolo(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in YOLO's format: a folder, its YAML or `obj.data` file, or a list of images.

    A label line is `class cx cy w h`: class index, centre and size, as fractions of the upright image's width and height. Outlines and
    oriented boxes are read as the boxes that enclose them, and poses as their boxes; a confidence at the end is ignored. As in Ultralytics,
    an image without a label file has no objects. The class names are those of the YAML file, or of a list such as `classes.txt` or
    `obj.names`; otherwise they are the class indices. `root=` sets the folder of the dataset, which otherwise follows from the file.
    `frame=` is as in `find_frames`.
    """
    layout = find_layout(ref)
    faults: list[Fault] = []
    pictures = list_pictures(layout, faults)
    labels = Labels(layout.root, layout.folders, [key for key, _ in pictures])
    files = {key: found for key, _ in pictures if (found := labels.find(key)) is not None}
    names, keypoints = layout.names or _found_classes(layout, files.values()), layout.keypoints
    faults += [*orphans(layout, labels, set(files.values())), *layout.folders.faults]
    if keypoints is None and (keypoints := find_keypoints(_lines(layout.root, islice(files.values(), _LOOKED)))) is not None:
        layout.notes.append(f"all lines are poses of {counted(keypoints[0], 'keypoint')} with visibility, as kpt_shape would state")
    images = []
    for key, file in pictures:
        try:
            images.append(Annotated(key, file, None, decoding.header(file)))
        except ImageError as error:
            faults.append(Fault(key, error.reason, whole=True, kind=error.kind))
    frames = find_frames(ref, images)
    reader = LineReader(names, keypoints)
    records = []
    for image in images:
        frame = frames.of(image)
        objects = _objects(layout.root, files.get(image.key), frame.size_hw, reader, faults)
        values = {
            "boxes": [frame.upright(box) for box, _, _ in objects],
            "labels": [label for _, label, _ in objects],
            "difficult": [difficult for _, _, difficult in objects],
        }
        records.append(Record(image.key, image.path, as_target(values, image.key), frames.size_hw(image)))
    notes = [*layout.places.notes, *layout.notes, *labels.notes, *reader.notes, *layout.folders.notes, *frames.notes]
    return finish(ref, records, names, faults, on_error, keep_classes, notes)


def _found_classes(layout: Layout, keys: Iterable[str]) -> tuple[str, ...]:
    """Return the class names "0", "1", … up to the highest class number in the labels of all splits, or the names in DOTA's labels.

    The labels of a list of images are those with these `keys`.
    """
    folder = layout.root.folder
    files = list(label_files(layout.folders, folder / "labels"))
    if not files and layout.places.sources[0].is_dir():
        files = [file for file in label_files(layout.folders, folder) if is_labels(file)]
    if files:
        keys = (file.relative_to(folder).as_posix() for file in files)
    highest, names = -1, set[str]()
    for values in _lines(layout.root, keys):
        # a huge number is reported as an error in its line; it must not create a million classes
        if values and values[0].isascii() and values[0].isdigit() and len(values[0]) < 6:
            highest = max(highest, int(values[0]))
        if is_dota(values):
            names.add(dota_class(values)[0])
    if names:
        return tuple(sorted(names))
    layout.notes.append("no file names the classes (data.yaml, classes.txt, obj.names, …): they are named by their numbers")
    return tuple(str(index) for index in range(highest + 1))


def _lines(root: PictureRoot, keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield the values of the lines in label files; those that can't be read are reported when their boxes are read."""
    for key in keys:
        with suppress(Flaw, DataError):
            yield from map(str.split, read_text(root.find(key, annotation=True)[1]).splitlines())


def _objects(
    root: PictureRoot, key: str | None, size_hw: tuple[float, float], reader: LineReader, faults: list[Fault]
) -> list[tuple[Box, int, bool]]:
    """Return the boxes, xyxy in pixels, labels and marks of one image's objects, and add invalid lines to `faults`."""
    objects: list[tuple[Box, int, bool]] = []
    if key is None:
        return objects
    try:
        lines = read_text(root.find(key, annotation=True)[1]).splitlines()
    except (DataError, Flaw) as error:  # outside the folder, unreadable, or not text
        faults.append(Fault(key, f"the labels can't be read: {error}", kind="annotation"))
        return objects
    for number, line in enumerate(lines, 1):
        if line.strip() and not is_header(line):
            try:
                objects.append(reader.read(line.split(), size_hw, f"{key} line {number}"))
            except Flaw as flaw:
                faults.append(flaw.at(f"{key} line {number}", f"line {number}"))
    return objects


def _recognise(folder: Path) -> str | None:
    try:
        file = find_description(DataRef(str(folder), "yolo", str(folder)), folder)
    except InputError:
        return "it has several files that describe datasets"
    if file is not None and recognise_description(file):
        return f"it has a {file.name} that names classes"
    return "it has images and YOLO's text files" if is_bare(folder) else None


def _recognise_file(file: Path) -> str | None:
    return "it is a list of images" if lists_images(file) else recognise_description(file)


SCHEMES.add("yolo", Scheme("yolo", open_yolo, _recognise, options=("root", "frame"), recognise_file=_recognise_file, splits=split_names))
