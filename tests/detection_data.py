"""Small detection datasets in the COCO and VOC formats, opened as by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.pictures import picture, write_picture
from zoo.data.dataset import Dataset, OnError
from zoo.task.contract import get_task


def opened(data: str, on_error: OnError = "raise") -> Dataset:
    task = get_task("detection")
    return task.open(data, on_error)


def instances() -> dict[str, Any]:
    """Return two images of 40×30 pixels with categories 3 and 7; the second image has no annotations."""
    return {
        "images": [
            {"id": 0, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 7, "bbox": [1, 2, 10, 20], "area": 99.5, "iscrowd": 1},
            {"id": 5, "image_id": 0, "category_id": 3, "bbox": [0, 0, 40.5, 30]},
        ],
    }


def write_coco(root: Path, content: Any = None, file: str = "instances.json", pictures: str = "") -> Path:
    for name in ("a.png", "b.png"):
        write_picture(root / pictures / name, picture((90, 90, 90), size_hw=(30, 40)))
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(instances() if content is None else content))
    return root


def annotation(filename: str | None = "a.png", objects: str = "", size: str = "<width>40</width><height>30</height>") -> str:
    name = "" if filename is None else f"<filename>{filename}</filename>"
    return f"<annotation>{name}<size>{size}</size>{objects}</annotation>"


def thing(name: str = "cat", box: tuple[Any, ...] = (1, 2, 11, 22), difficult: int = 0) -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


def write_voc(root: Path, **files: str) -> Path:
    contents = {"a": annotation(objects=thing("dog") + thing("cat", difficult=1)), "b": annotation("b.png"), **files}
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, content in contents.items():
        (root / "Annotations" / f"{stem}.xml").write_text(content)
    for name in ("a.png", "b.png"):
        write_picture(root / "JPEGImages" / name, picture((90, 90, 90), size_hw=(30, 40)))
    (root / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\n\nb -1\n")
    return root
