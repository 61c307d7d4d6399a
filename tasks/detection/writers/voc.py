"""Write the `voc:` format: Annotations, JPEGImages and ImageSets/Main."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from zoo.data.classes import write_order
from zoo.data.writers import Content, Picture, Writer
from zoo.images.decoding import size
from zoo.system.files import write_text
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.writers import WRITERS
from zoo.tasks.detection.writers.losses import own_area

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_voc(content: Content, out: Path) -> None:
    """Write one XML file per image and one list per split.

    Boxes are written in pixels, without rounding. Crowds, and areas that differ from the box's, are written as additional elements, which
    VOC doesn't define and other readers ignore.
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
    """Return a unique name without spaces and slashes for each annotation file.

    Names in VOC's lists end at the first space, and all annotation files are in the same folder.
    """
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
        if not own_area(target):
            SubElement(entry, "area").text = repr(float(target["area"][place]))
        corners = SubElement(entry, "bndbox")
        for side, value in zip(_SIDES, box, strict=True):
            SubElement(corners, side).text = f"{value:.0f}" if value.is_integer() else repr(value)
    indent(root)
    return root


def _losses(content: Content) -> list[str]:
    strange = [name for name in content.classes if name != name.strip()]
    return [f"class names with leading or trailing spaces: {', '.join(map(repr, strange))}"] if strange else []


WRITERS.add("voc", Writer(write_voc, _losses))
