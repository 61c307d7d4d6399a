"""Write cleaned copies of COCO JSON, VOC XML and YOLO text annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, tostring

from zoo.curation.check.examination import Examination
from zoo.curation.check.pictures import Facts
from zoo.data.classes import FILE as CLASSES
from zoo.data.folders import Folders
from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.data.voc.folder import Annotation, VocFolder
from zoo.data.voc.splits import find_lists, read_list
from zoo.errors import Box, InputError
from zoo.system.files import read_text, write_text


@dataclass(frozen=True)
class Change:
    """A row of `changes.csv`."""

    action: Literal["removed", "changed", "kept"]  # "kept": a finding that isn't fixed because fixing it would be a guess
    file: str  # annotation file or image
    place: str  # position in the file, such as "line 12"; "" for none
    text: str


def mend_box(box: Box, size_hw: tuple[float, float]) -> tuple[Box | None, str]:
    """Reorder the corners of a box (xyxy) and clip it to the image, whose size is in the unit of the box.

    Return the corrected box, or None if it has no area or lies outside the image; and a description of the fix or of the reason for None
    ("" for a valid box).
    """
    height, width = size_hw
    left, right = sorted((box[0], box[2]))
    top, bottom = sorted((box[1], box[3]))
    done = ["corners reordered"] if (left, top, right, bottom) != box else []
    inside = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
    if left == right or top == bottom:
        return None, "no area"
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, "entirely outside the image"
    if inside != (left, top, right, bottom):
        done.append("clipped to the image")
    return inside, " and ".join(done)


def write_coco(examination: Examination, out: Path) -> Iterator[Change]:
    """Write cleaned copies of all COCO annotation files in the dataset folder, with the same names."""
    root = examination.opened.root
    assert root is not None
    # an image that can be read in one split counts as readable
    pairs = sorted(zip(examination.opened.items, examination.facts, strict=True), key=lambda pair: not pair[1].fault)
    known = {item.key: fact for item, fact in pairs}
    lost = {finding.key: finding.text for finding in examination.findings.findings if finding.place.startswith("image id")}
    path = examination.opened.path
    every = {*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")}
    for file in [path] if path is not None and path.is_file() else sorted(every):
        try:
            content = json.loads(file.read_bytes())
        except ValueError:
            continue  # invalid JSON was already reported as a finding
        if isinstance(content, dict) and all(isinstance(content.get(part), list) for part in ("images", "annotations", "categories")):
            name = file.relative_to(root).as_posix()
            yield from _clean_images(content, name, known, lost)
            yield from _clean_annotations(content, name, known)
            write_text(out / name, json.dumps(content))


def _key(image: Mapping[str, Any], known: Mapping[str, Facts]) -> str:
    """Return the key under which the reader found an image: its file name, or a trailing part of it."""
    name = nfc(str(image.get("file_name")))
    return name if name in known else next((tail for tail in tails(name) if tail in known), name)


def _clean_images(content: dict[str, Any], name: str, known: Mapping[str, Facts], lost: Mapping[str, str]) -> Iterator[Change]:
    """Clean the list of images in `content` in place, and yield the changes; `lost` are the reasons by key of images that were dropped."""
    kept: dict[Any, dict[str, Any]] = {}
    keys: set[str] = set()
    for image in content["images"]:
        key = _key(image, known)
        if image.get("id") in kept or key in keys:
            yield Change("removed", key, f"image id {image.get('id')}", f"{name}: duplicate id or file name")
        elif key not in known or known[key].fault:
            fault = f"{name}: {known[key].fault}" if key in known else lost.get(key, f"{name}: the image is missing")
            yield Change("removed", key, f"image id {image.get('id')}", fault)
        else:
            kept[image["id"]] = image
            keys.add(key)
    content["images"] = list(kept.values())


def _clean_annotations(content: dict[str, Any], name: str, known: Mapping[str, Facts]) -> Iterator[Change]:
    """Clean the list of annotations in `content` in place, and yield the changes."""
    # the reader finds ids as text if the types differ
    pictures = {key: image for image in content["images"] for key in (str(image["id"]), image["id"])}
    categories = {key for category in content["categories"] for key in (str(category.get("id")), category.get("id"))}
    numbers = [entry["id"] for entry in content["annotations"] if isinstance(entry.get("id"), int)]
    free = max(numbers, default=0) + 1
    kept: list[dict[str, Any]] = []
    ids: set[Any] = set()
    boxes: set[tuple[Any, ...]] = set()
    for entry in content["annotations"]:
        place = f"annotation id {entry.get('id')}"
        picture = pictures.get(entry.get("image_id")) or pictures.get(str(entry.get("image_id")))
        if picture is None:
            yield Change("removed", name, place, "its image_id is not among the images")
            continue
        if not {entry.get("category_id"), str(entry.get("category_id"))} & categories:
            yield Change("removed", name, place, f"category_id {entry.get('category_id')} is not among the categories")
            continue
        if not entry.get("bbox") and entry.get("segmentation"):
            kept.append(entry)  # the reader takes the box of the outline
            continue
        key = _key(picture, known)
        box, what = _mend_coco(entry.get("bbox"), known[key].size_hw)
        same = (entry["image_id"], entry["category_id"], box)
        if box is None or same in boxes:
            yield Change("removed", key, place, f"{name}: box {entry.get('bbox')}: {what if box is None else 'duplicate'}")
            continue
        boxes.add(same)
        if what:
            yield Change("changed", key, place, f"{name}: box {entry['bbox']} changed to {list(box)}: {what}")
            entry["bbox"] = list(box)
            if not entry.get("iscrowd") and "segmentation" not in entry:
                entry["area"] = box[2] * box[3]
        if entry.get("id") in ids:
            yield Change("changed", key, place, f"{name}: duplicate id; changed to {free}")
            entry["id"], free = free, free + 1
        ids.add(entry.get("id"))
        kept.append(entry)
    content["annotations"] = kept


def _mend_coco(bbox: Any, size_hw: tuple[int, int]) -> tuple[Box | None, str]:
    """Fix a COCO box (x, y, width, height). The return values are those of `mend_box`, with the box in COCO format."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(isinstance(side, int | float) and math.isfinite(side) for side in bbox):
        return None, "not four finite numbers"
    left, top, width, height = bbox
    box, what = mend_box((left, top, left + width, top + height), size_hw)
    if box is None:
        return None, what
    return ((box[0], box[1], box[2] - box[0], box[3] - box[1]) if what else (left, top, width, height)), what


def write_voc(examination: Examination, out: Path) -> Iterator[Change]:
    """Write cleaned copies of all VOC annotation files and image lists."""
    root = examination.opened.root
    assert root is not None
    known = {item.record.path: (item.key, fact) for item, fact in zip(examination.opened.items, examination.facts, strict=True)}
    folder = VocFolder(root, examination.opened.links)
    kept: set[Annotation] = set()
    for annotation in folder.annotations:
        name = annotation.key
        if annotation.tree is None or annotation.picture not in known:
            yield Change("removed", name, "", "the image or the annotation file can't be read")
            continue
        key, fact = known[annotation.picture]
        if fact.fault:
            yield Change("removed", name, "", f"{key} {fact.fault}")
            continue
        yield from _clean_voc(annotation.tree, name, fact.size_hw)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(out / name, tostring(annotation.tree, encoding="unicode") + "\n")
        kept.add(annotation)
    for file in (file for files in find_lists(root).values() for file in files):
        name = file.relative_to(root).as_posix()
        lines = [(number, line, kept.issuperset(found) and bool(found)) for number, line, found in read_list(folder, file)]
        for number, line, stays in lines:
            if not stays:
                yield Change("removed", name, f"line {number}", f"{line} no longer has an annotation")
        write_text(out / name, "".join(f"{line}\n" for _, line, stays in lines if stays))


def _clean_voc(tree: Element, name: str, size_hw: tuple[int, int]) -> Iterator[Change]:
    """Clean the objects in `tree` in place, and yield the changes."""
    seen: set[tuple[Any, ...]] = set()
    objects = [(parent, entry) for parent in tree.iter() for entry in parent.findall("object")]
    for number, (holder, entry) in enumerate(objects, start=1):
        place, label = f"object {number}", (entry.findtext("name") or "").strip()
        if label and entry.find("bndbox") is None and any(entry.find(tag) is not None for tag in ("robndbox", "polygon")):
            continue  # the reader makes their boxes
        sides = [entry.find(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            given: Box = tuple(float((side.text if side is not None else None) or "") for side in sides)  # type: ignore[assignment]  # four
        except ValueError:
            given = (math.nan,) * 4
        box, what = mend_box(given, size_hw) if all(map(math.isfinite, given)) else (None, "not four finite numbers")
        if not label or box is None or (label, box) in seen:
            why = "no name" if not label else what if box is None else "duplicate"
            yield Change("removed", name, place, f"box {list(given)} ({label or '?'}): {why}")
            holder.remove(entry)
            continue
        seen.add((label, box))
        if what:
            yield Change("changed", name, place, f"box {list(given)} ({label}) changed to {list(box)}: {what}")
            for side, value in zip(sides, box, strict=True):
                assert side is not None
                side.text = f"{value:g}"


def write_yolo(examination: Examination, out: Path) -> Iterator[Change]:
    """Write cleaned copies of all YOLO label files, with the same relative paths."""
    root = examination.opened.root
    assert root is not None
    count = max((len(names) for names in examination.opened.classes.values()), default=0)
    # an image that can't be read in one split counts as unreadable
    pairs = sorted(zip(examination.opened.items, examination.facts, strict=True), key=lambda pair: bool(pair[1].fault))
    faults = {nfc(item.record.path.stem): fact.fault for item, fact in pairs if item.record.path is not None}
    refused = {fault.key for fault in examination.opened.faults}
    lost = {nfc(Path(key).stem) for key in refused}
    files = [Path(path) for path in Folders(root, examination.opened.links).files(root) if path.lower().endswith(".txt")]
    files = [file for file in files if file.name != CLASSES]
    apart = [file for file in files if any(part.lower().startswith("label") for part in file.relative_to(root).parts[:-1])]
    written = apart or [file for file in files if nfc(file.stem) in faults or nfc(file.stem) in lost]  # otherwise beside the images
    if not written:
        raise InputError(f"--fix found no label files in {root}; pass the folder that contains them")
    for file in sorted(written):
        name = file.relative_to(root).as_posix()
        if fault := faults.get(nfc(file.stem), "its image is missing or can't be read"):
            yield Change("removed", name, "", fault)
            continue
        lines: list[str] = []
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            plain = len(line.split()) == 5 or any(f"{tail} line {number}" in refused for tail in tails(name))
            kept, change = _clean_line(line, count, lines) if plain else (line.strip(), "")
            if not plain and kept in lines:
                kept, change = "", "duplicate"
            if kept:
                lines.append(kept)
            if change:
                yield Change("changed" if kept else "removed", name, f"line {number}", f"{line!r}: {change}")
        write_text(out / name, "".join(f"{line}\n" for line in lines))


def _clean_line(line: str, classes: int, before: list[str]) -> tuple[str, str]:
    """Fix a line with class, centre x, centre y, width and height, in fractions of the image size. `before` are the kept lines before it.

    Return the fixed line, or "" if it must be removed; and a description of the change ("" for none).
    """
    parts = line.split()
    if not parts:
        return "", ""
    try:
        label, (x, y, width, height) = int(parts[0]), map(float, parts[1:])
    except ValueError:
        return "", "expected a class and four numbers"
    if not 0 <= label < classes:
        return "", f"class {label} is not among the {classes} classes"
    if line.strip() in before:
        return "", "duplicate"
    given: Box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    # rounded, so that rounding errors don't make a box at the edge extend beyond the image
    box, what = mend_box(tuple(round(side, 9) for side in given), (1, 1))  # type: ignore[arg-type]  # four again
    if box is None:
        return "", what
    if not what:
        return line.strip(), ""
    left, top, right, bottom = box
    return f"{label} {(left + right) / 2:.9g} {(top + bottom) / 2:.9g} {right - left:.9g} {bottom - top:.9g}", what
