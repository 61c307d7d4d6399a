"""Write the `coco:` format: annotations/instances_<split>.json, with the images in images/."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.data.writers import Content, Picture, Writer
from zoo.images.decoding import size
from zoo.system.files import write_text
from zoo.tasks.detection.data.targets import as_target
from zoo.tasks.detection.writers import WRITERS


def write_coco(content: Content, out: Path) -> None:
    """Write the images and one instances file per split. Ids start at 1, and category ids follow the order of the classes."""
    for picture in content.pictures:
        content.put(picture, out / "images" / picture.name)
    categories = [{"id": number, "name": name} for number, name in enumerate(content.classes, 1)]
    for split in content.splits or ("",):
        pictures = content.of_split(split)
        images = [_image(number, picture, out) for number, picture in enumerate(pictures, 1)]
        annotations = list(_annotations(pictures))
        file = out / "annotations" / f"instances_{split}.json" if split else out / "instances.json"
        file.parent.mkdir(exist_ok=True)
        write_text(file, json.dumps({"images": images, "annotations": annotations, "categories": categories}, ensure_ascii=False))


def _image(number: int, picture: Picture, out: Path) -> dict[str, Any]:
    height, width = size(out / "images" / picture.name)
    return {"id": number, "file_name": picture.name, "width": width, "height": height}


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
            }


WRITERS.add("coco", Writer(write_coco))
