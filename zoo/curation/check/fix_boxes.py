"""Cleaned copies of COCO JSON and VOC XML annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, tostring

from zoo.curation.check.changes import Change, lost_files, mend_box, sizes_hw
from zoo.curation.check.examination import Examination
from zoo.errors import Box
from zoo.system.files import write_text


@dataclass
class _Known:
    """Result of the check by image key: why an image can't be read, or its size."""

    lost: dict[str, str] = field(default_factory=dict)
    size_hw: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, examination: Examination) -> _Known:
        lost, sizes = lost_files(examination), sizes_hw(examination)
        known = cls()
        for item in examination.opened.items:
            if item.file in lost:
                known.lost[item.key] = lost[item.file]
            elif item.file is not None:
                known.size_hw[item.key] = sizes[item.file]
        return known


def write_coco(examination: Examination, out: Path) -> Iterator[Change]:
    """Write a cleaned copy of every instances file in the dataset folder, under the same name."""
    root = examination.opened.root
    assert root is not None
    known = _Known.of(examination)
    for file in sorted({*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")}):
        try:
            content = json.loads(file.read_bytes())
        except ValueError:
            continue  # already reported as a finding; there is nothing to copy
        if isinstance(content, dict) and all(isinstance(content.get(part), list) for part in ("images", "annotations", "categories")):
            name = file.relative_to(root).as_posix()
            yield from _clean_coco(content, name, known)
            write_text(out / name, json.dumps(content))


def _clean_coco(content: dict[str, Any], name: str, known: _Known) -> Iterator[Change]:
    """Clean `content` in place and yield the changes."""
    kept_images: dict[Any, dict[str, Any]] = {}
    keys: set[str] = set()
    for image in content["images"]:
        key = str(image.get("file_name"))
        if image.get("id") in kept_images or key in keys:
            yield Change("removed", key, f"image id {image.get('id')}", f"{name}: duplicate id or file name")
        elif key not in known.size_hw:
            yield Change("removed", key, f"image id {image.get('id')}", f"{name}: {known.lost.get(key, 'the image is missing')}")
        else:
            kept_images[image["id"]] = image
            keys.add(key)
    content["images"] = list(kept_images.values())
    yield from _clean_annotations(content, name, kept_images, known)


def _clean_annotations(content: dict[str, Any], name: str, pictures: dict[Any, dict[str, Any]], known: _Known) -> Iterator[Change]:
    categories = {category.get("id") for category in content["categories"]}
    numbers = [entry["id"] for entry in content["annotations"] if isinstance(entry.get("id"), int)]
    free = max(numbers, default=0) + 1
    kept: list[dict[str, Any]] = []
    ids: set[Any] = set()
    boxes: set[tuple[Any, ...]] = set()
    for entry in content["annotations"]:
        place = f"annotation id {entry.get('id')}"
        picture = pictures.get(entry.get("image_id"))
        if picture is None or entry.get("category_id") not in categories:
            what = (
                "its image_id is not among the images"
                if picture is None
                else f"category_id {entry.get('category_id')} is not among the categories"
            )
            yield Change("removed", name, place, what)
            continue
        key = str(picture["file_name"])
        box, what = _mend_coco(entry.get("bbox"), known.size_hw[key])
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
    """Fix a COCO box (x, y, width, height); returns the same as `mend_box`."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(isinstance(side, int | float) and math.isfinite(side) for side in bbox):
        return None, "not four finite numbers"
    left, top, width, height = bbox
    box, what = mend_box((left, top, left + width, top + height), size_hw)
    if box is None or not what:
        return (None if box is None else (left, top, width, height)), what
    return (box[0], box[1], box[2] - box[0], box[3] - box[1]), what


def write_voc(examination: Examination, out: Path) -> Iterator[Change]:
    """Write a cleaned copy of every annotation file and every image-set list."""
    root = examination.opened.root
    assert root is not None
    known = _Known.of(examination)
    keys = {Path(item.key).stem: item.key for item in examination.opened.items}
    kept: set[str] = set()
    for file in sorted((root / "Annotations").glob("*.xml")):
        name = f"Annotations/{file.name}"
        key = keys.get(file.stem)
        if key is None or key in known.lost:
            yield Change(
                "removed", name, "", "the image or the annotation file can't be read" if key is None else f"{key} {known.lost[key]}"
            )
            continue
        tree = _parse(file)
        yield from _clean_voc(tree, name, known.size_hw[key])
        write_text(out / name, tostring(tree, encoding="unicode") + "\n")
        kept.add(file.stem)
    for file in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        name = file.relative_to(root).as_posix()
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        for number, line in enumerate(lines, start=1):
            if line.split()[0] not in kept:
                yield Change("removed", name, f"line {number}", f"{line.split()[0]} no longer has an annotation")
        write_text(out / name, "".join(f"{line}\n" for line in lines if line.split()[0] in kept))


def _parse(file: Path) -> Element:
    from defusedxml.ElementTree import fromstring

    try:
        tree: Element = fromstring(file.read_bytes())
    except ParseError as error:  # it was valid a moment ago: another process is writing it
        raise OSError(f"{file} changed while it was being read: {error}") from error
    return tree


def _clean_voc(tree: Element, name: str, size_hw: tuple[int, int]) -> Iterator[Change]:
    """Clean the objects of `tree` in place and yield the changes."""
    seen: set[tuple[Any, ...]] = set()
    for number, entry in enumerate(list(tree.findall("object")), start=1):
        place, label = f"object {number}", (entry.findtext("name") or "").strip()
        sides = [entry.find(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            given: Box = tuple(float((side.text if side is not None else None) or "") for side in sides)  # type: ignore[assignment]  # four
        except ValueError:
            given = (math.nan,) * 4
        box, what = mend_box(given, size_hw) if all(map(math.isfinite, given)) else (None, "not four finite numbers")
        if not label or box is None or (label, box) in seen:
            why = "no name" if not label else what if box is None else "duplicate"
            yield Change("removed", name, place, f"box {list(given)} ({label or '?'}): {why}")
            tree.remove(entry)
            continue
        seen.add((label, box))
        if what:
            yield Change("changed", name, place, f"box {list(given)} ({label}) changed to {list(box)}: {what}")
            for side, value in zip(sides, box, strict=True):
                assert side is not None
                side.text = f"{value:g}"
