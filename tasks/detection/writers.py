"""Write detection datasets in the formats `coco:`, `csv:`, `voc:` and `yolo:`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from zoo.data.classes import write_order
from zoo.data.tables import as_csv
from zoo.data.writers import Content, Picture, Writer, same_stem, table_losses
from zoo.images.decoding import size
from zoo.registry import Registry
from zoo.system.files import write_text
from zoo.tasks.detection.data.attributes import attribute_counts, attributes_of
from zoo.tasks.detection.data.box_table import find
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.data.yolo.description import SPLITS
from zoo.tasks.detection.data.yolo.lines import fractions

_TABLE = "annotations.csv"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_MARKS = ("iscrowd", "difficult", "area")
_OF_VOC = ("pose", "truncated", "occluded")  # elements of every VOC file, whose loss isn't worth a question


def _own_area(target: Target) -> bool:
    """Return whether every area equals that of its box, in which case areas needn't be written."""
    boxes = target["boxes"]
    # areas computed in float64 differ in the last digit
    return "area" not in target or np.allclose(target["area"], (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), rtol=1e-6)


def write_coco(content: Content, out: Path) -> None:
    """Write the images and one instances file per split. Ids start at 1, and category ids follow the order of the classes."""
    for picture in content.pictures:
        content.put(picture, out / "images" / picture.name)
    categories = [{"id": number, "name": name} for number, name in enumerate(content.classes, 1)]
    for split in content.splits or ("",):
        pictures = content.of_split(split)
        sizes = [size(out / "images" / picture.name) for picture in pictures]
        images = [
            {"id": number, "file_name": picture.name, "width": width, "height": height}
            for number, (picture, (height, width)) in enumerate(zip(pictures, sizes, strict=True), 1)
        ]
        annotations = list(_annotations(pictures))
        file = out / "annotations" / f"instances_{split}.json" if split else out / "instances.json"
        file.parent.mkdir(exist_ok=True)
        write_text(file, json.dumps({"images": images, "annotations": annotations, "categories": categories}, ensure_ascii=False))


def _annotations(pictures: Sequence[Picture]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, picture in enumerate(pictures, 1):
        target = as_target(picture.record.target, picture.name)
        for place, box in enumerate(target["boxes"].tolist()):
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": int(target["labels"][place]) + 1,
                # float32 corners are exact in float64, and so are their differences and sums below 2^29 pixels
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": float(target["area"][place]),
                "iscrowd": int(target["iscrowd"][place]),
                **({"difficult": 1} if target["difficult"][place] else {}),
                **({"attributes": known} if (known := _known(target, place)) else {}),
            }


def _known(target: Target, place: int) -> dict[str, str]:
    """Return the known attributes of a box by name."""
    return {name: str(values[place]) for name, values in attributes_of(target).items() if values[place]}


def _attribute_names(content: Content) -> list[str]:
    return list(attribute_counts(picture.record.target for picture in content.pictures))


def write_csv(content: Content, out: Path) -> None:
    """Write the images and annotations.csv, with a column for each attribute.

    The columns iscrowd, difficult and area are included only if a box needs them.
    """
    marks = [mark for mark in _MARKS if any(_has(mark, as_target(picture.record.target, picture.name)) for picture in content.pictures)]
    rows: list[list[str]] = []
    names = _attribute_columns(content, _attribute_names(content))
    for picture in content.pictures:
        content.put(picture, out / picture.name)
        for split in picture.splits or ("",):
            for row in _rows(as_target(picture.record.target, picture.name), content.classes, marks, names):
                rows.append([picture.name, *row[:5], *([split] if content.splits else []), *row[5:]])
    write_text(out / _TABLE, as_csv([*_header(content), *marks, *names], rows))
    write_order(content.classes, sorted({row[5] for row in rows} - {""}), out)


def _header(content: Content) -> list[str]:
    return ["path", *_SIDES, "label", *(["split"] if content.splits else [])]


def _attribute_columns(content: Content, names: list[str]) -> list[str]:
    """Return those of the attributes whose columns are read as attributes, and not as something else."""
    return list(find([*_header(content), *_MARKS, *names]).extra)


def _csv_losses(content: Content) -> list[str]:
    """Return the losses of tables, and attributes whose columns would be read as something else."""
    names = _attribute_names(content)
    kept = _attribute_columns(content, names)
    return [*table_losses(content), *(f"the attribute {name!r} has the name of another column" for name in names if name not in kept)]


def _has(mark: str, target: Target) -> bool:
    return not _own_area(target) if mark == "area" else bool(target[mark].any())


def _rows(target: Target, classes: tuple[str, ...], marks: list[str], names: list[str]) -> Iterator[list[str]]:
    """Yield one table row per box: corners, label, and the columns `marks` and attributes `names`; an empty row without boxes."""
    if not len(target["boxes"]):
        yield [""] * (5 + len(marks) + len(names))
    for place, box in enumerate(target["boxes"].tolist()):
        values = [repr(float(target[mark][place])) if mark == "area" else str(int(target[mark][place])) for mark in marks]
        known = _known(target, place)
        yield [*map(repr, box), classes[target["labels"][place]], *values, *(known.get(name, "") for name in names)]


def write_voc(content: Content, out: Path) -> None:
    """Write JPEGImages, Annotations with one XML file per image, and ImageSets/Main with one list per split.

    Boxes are written in pixels, without rounding. Attributes are written as CVAT writes them. Crowds, and areas that differ from the box's,
    are written as additional elements, which VOC doesn't define and other readers ignore.
    """
    names = _file_names(content.pictures)
    (out / "Annotations").mkdir()
    used: set[str] = set()
    for picture, name in zip(content.pictures, names, strict=True):
        content.put(picture, out / "JPEGImages" / picture.name)
        target = as_target(picture.record.target, picture.name)
        used.update(content.classes[label] for label in target["labels"])
        text = tostring(_tree(picture.name, target, content.classes, size(out / "JPEGImages" / picture.name)), encoding="unicode")
        write_text(out / "Annotations" / f"{name}.xml", text + "\n")
    if content.splits:
        (out / "ImageSets" / "Main").mkdir(parents=True)
    for split in content.splits:
        listed = [name for picture, name in zip(content.pictures, names, strict=True) if split in picture.splits]
        write_text(out / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name in listed))
    write_order(content.classes, sorted(used), out)


def _file_names(pictures: Sequence[Picture]) -> list[str]:
    """Return a unique name for each annotation file, without slashes, and without spaces, because these end a name in VOC's lists."""
    taken: set[str] = set()
    names = []
    for picture in pictures:
        plain = base = re.sub(r"\s|/", "_", str(PurePosixPath(picture.name).with_suffix("")))
        number = 1
        while plain.casefold() in taken:
            number += 1
            plain = f"{base}_{number}"
        taken.add(plain.casefold())
        names.append(plain)
    return names


def _tree(name: str, target: Target, classes: Sequence[str], size_hw: tuple[int, int]) -> Element:
    root = Element("annotation")
    SubElement(root, "filename").text = name
    about = SubElement(root, "size")
    for part, value in (("width", size_hw[1]), ("height", size_hw[0]), ("depth", 3)):
        SubElement(about, part).text = str(value)
    for place, box in enumerate(target["boxes"].tolist()):
        entry = SubElement(root, "object")
        SubElement(entry, "name").text = classes[target["labels"][place]]
        SubElement(entry, "difficult").text = str(int(target["difficult"][place]))
        if target["iscrowd"][place]:
            SubElement(entry, "iscrowd").text = "1"
        if not _own_area(target):
            SubElement(entry, "area").text = repr(float(target["area"][place]))
        corners = SubElement(entry, "bndbox")
        for side, value in zip(_SIDES, box, strict=True):
            SubElement(corners, side).text = f"{value:.0f}" if value.is_integer() else repr(value)
        if known := _known(target, place):
            attributes = SubElement(entry, "attributes")
            for attribute, text in known.items():
                pair = SubElement(attributes, "attribute")
                SubElement(pair, "name").text, SubElement(pair, "value").text = attribute, text
    indent(root)
    return root


def _voc_losses(content: Content) -> list[str]:
    strange = [name for name in content.classes if name != name.strip()]
    return [f"class names with leading or trailing spaces: {', '.join(map(repr, strange))}"] if strange else []


def write_yolo(content: Content, out: Path) -> None:
    """Write the images, one label file per image, and `data.yaml`. A dataset without splits gets `classes.txt` instead of `data.yaml`."""
    for picture in content.pictures:
        content.put(picture, out / "images" / picture.name)
        target = as_target(picture.record.target, picture.name)
        size_hw = size(out / "images" / picture.name)
        boxes = zip(target["labels"].tolist(), target["boxes"], strict=True)
        lines = [f"{label} {' '.join(map(repr, fractions(box, size_hw)))}\n" for label, box in boxes]
        file = out / "labels" / PurePosixPath(picture.name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, "".join(lines))
    if not content.splits:
        write_text(out / "classes.txt", "".join(f"{name}\n" for name in content.classes))
        return
    import yaml  # rarely needed

    for split in content.splits:
        write_text(out / f"{split}.txt", "".join(f"./images/{picture.name}\n" for picture in content.of_split(split)))
    description = {"path": ".", **{split: f"{split}.txt" for split in content.splits}, "names": dict(enumerate(content.classes))}
    write_text(out / "data.yaml", yaml.safe_dump(description, sort_keys=False, allow_unicode=True))


def _yolo_losses(content: Content) -> list[str]:
    targets = [picture.record.target for picture in content.pictures]
    crowds, difficult = (sum(int(target[mark].sum()) for target in targets if mark in target) for mark in ("iscrowd", "difficult"))
    counts = attribute_counts(targets)
    names = [name for name, values in counts.items() if len(values) > 1 and name not in _OF_VOC]
    masks = sum(not _own_area(picture.record.target) for picture in content.pictures)
    lost = [f"{crowds} boxes are crowds: they become ordinary boxes"] if crowds else []
    lost += [f"{difficult} boxes are difficult: they become ordinary boxes"] if difficult else []
    lost += [f"the boxes have attributes ({', '.join(names)}): they are dropped"] if names else []
    lost += [f"{masks} images have boxes with the area of a mask: it is replaced by the area of the box"] if masks else []
    lost += [f"{first} and {second} would share one label file" for first, second in same_stem(content.pictures)]
    lost += [f"the split {split!r} is not one of {', '.join(SPLITS)}" for split in content.splits if split not in SPLITS]
    names = [picture.name for picture in content.pictures]
    return lost + [f"the name {name!r} has leading or trailing spaces" for name in names if name != name.strip()]


WRITERS: Registry[Writer] = Registry("detection format")
WRITERS.add("coco", Writer(write_coco))
WRITERS.add("csv", Writer(write_csv, _csv_losses, path=_TABLE))
WRITERS.add("voc", Writer(write_voc, _voc_losses))
WRITERS.add("yolo", Writer(write_yolo, _yolo_losses))
