"""Small valid datasets, and ways to damage them, for tests of the dataset check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.pictures import write_picture
from zoo.curation.check.examination import examine
from zoo.curation.check.findings import Findings

SIZE_HW = (48, 64)
Box = tuple[float, float, float, float]
Labelled = tuple[str, Box]


def check(data: object, task: str = "classification", *, near: int = 4) -> Findings:
    """Return the findings of a dataset check."""
    return examine(data, task, near=near).findings


def scene(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.uint8]:
    """Return an RGB image of smooth coloured patches: every seed looks different, and JPEG changes it little."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def write_folders(root: Path, classes: Sequence[str] = ("cat", "dog"), each: int = 3, splits: Sequence[str] = ("",), seed: int = 0) -> Path:
    """Write valid class (or person) folders `root/[split/]class/N.png`."""
    for split in splits:
        for name in classes:
            for number in range(each):
                seed += 1
                write_picture(root / split / name / f"{number}.png", scene(seed))
    return root


def write_voc(root: Path, pictures: Sequence[Sequence[Labelled]], splits: dict[str, Sequence[int]] | None = None) -> Path:
    """Write a PASCAL VOC dataset: image N is N.png with these boxes (xyxy)."""
    for number, boxes in enumerate(pictures):
        write_picture(root / "JPEGImages" / f"{number}.png", scene(number))
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in boxes
        )
        size = f"<size><width>{SIZE_HW[1]}</width><height>{SIZE_HW[0]}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{number}.png</filename>{size}{objects}</annotation>"
        write(root / "Annotations" / f"{number}.xml", text)
    for split, numbers in (splits or {}).items():
        write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{number}\n" for number in numbers))
    return root


def write_coco(root: Path, pictures: Sequence[Sequence[Labelled]], name: str = "instances.json") -> Path:
    """Write a COCO dataset: image N is N.png with these boxes (xyxy, written as x, y, width, height); box ids start at 1."""
    for number in range(len(pictures)):
        write_picture(root / "images" / f"{number}.png", scene(number))
    boxes = [(number, name, box) for number, entries in enumerate(pictures) for name, box in entries]
    names = sorted({name for _, name, _ in boxes}) or ["thing"]
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]} for n in range(len(pictures))],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
        "annotations": [
            {"id": index + 1, "image_id": n, "category_id": names.index(name) + 1, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
            for index, (n, name, b) in enumerate(boxes)
        ],
    }
    write(root / name, json.dumps(content))
    return root


def edit_coco(root: Path, part: str, index: int, name: str = "instances.json", **values: Any) -> None:
    """Change an entry of one of the lists; an index equal to the length of the list appends an entry."""
    content = json.loads((root / name).read_text())
    entries = content[part]
    if index == len(entries):
        entries.append({})
    entries[index].update(values)
    write(root / name, json.dumps(content))


def write_box_table(root: Path, pictures: Sequence[Sequence[Labelled]]) -> Path:
    """Write a table of boxes, `boxes.csv`, and return its folder."""
    lines = ["path,xmin,ymin,xmax,ymax,label"]
    for number, boxes in enumerate(pictures):
        write_picture(root / "images" / f"{number}.png", scene(number))
        lines += [f"images/{number}.png,{','.join(map(str, box))},{name}" for name, box in boxes]
        lines += [] if boxes else [f"images/{number}.png,,,,,"]
    write(root / "boxes.csv", "\n".join(lines) + "\n")
    return root


def write(path: Path, text: str) -> None:
    """Write a text file, and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
