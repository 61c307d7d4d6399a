"""A small detection dataset with attributes: squares on grey images, each with a colour and a mark that is only known for some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.pictures import COLOURS, write_picture

ATTRIBUTES = {"colour": ["red", "green", "blue"], "marked": ["false", "true"]}
HW = (48, 64)


def squares(count: int = 6) -> list[list[dict[str, Any]]]:
    """Return the objects of each image, as in COCO's annotations; the last image has none."""
    colours = list(COLOURS)
    images: list[list[dict[str, Any]]] = []
    for number in range(count - 1):
        objects: list[dict[str, Any]] = []
        for place in range(2):
            attributes: dict[str, Any] = {"colour": colours[(number + place) % 3], "occluded": False, "rotation": 0.0}
            if place == 0:
                attributes["marked"] = number % 2 == 0
            objects.append({"category_id": 1 + place, "bbox": [4 + 30 * place, 6 + number, 20, 24], "attributes": attributes})
        images.append(objects)
    return [*images, []]


def write_squares(root: Path, images: list[list[dict[str, Any]]] | None = None) -> Path:
    """Write the dataset in COCO's form, as CVAT writes it, and return the folder."""
    images = squares() if images is None else images
    annotations: list[dict[str, Any]] = []
    for number, objects in enumerate(images):
        picture = np.full((*HW, 3), 90, np.uint8)
        for each in objects:
            left, top, width, height = each["bbox"]
            colour = each["attributes"].get("colour") if isinstance(each.get("attributes"), dict) else None
            picture[top : top + height, left : left + width] = COLOURS.get(str(colour), (0, 0, 0))
            annotations.append({"id": len(annotations) + 10, "image_id": number, "iscrowd": 0, **each})
        write_picture(root / "images" / f"{number}.png", picture)
    listed = [{"id": number, "file_name": f"{number}.png", "height": HW[0], "width": HW[1]} for number in range(len(images))]
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "box"}]}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_default.json").write_text(json.dumps(content))
    return root
