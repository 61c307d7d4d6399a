"""Detection datasets of one photo with an EXIF orientation, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.detection_data import thing

STORED_HW = (48, 64)
FORMATS = ("coco", "voc", "csv", "yolo")
_PLACES = {"coco": "images/0.png", "voc": "JPEGImages/0.png", "csv": "0.png", "yolo": "images/0.png"}
Box = tuple[int, int, int, int]


def write_photo(file: Path, bright: Box, orientation: int = 6, size_hw: tuple[int, int] = STORED_HW) -> None:
    """Write a dark image with one bright box (xyxy in the stored frame), and an EXIF orientation."""
    pixels = np.full((*size_hw, 3), 20, np.uint8)
    pixels[bright[1] : bright[3], bright[0] : bright[2]] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, exif=exif.tobytes())


def write_dataset(
    root: Path, scheme: str, box: Box, stated_hw: tuple[object, ...] | None = STORED_HW, frame_hw: tuple[int, int] = STORED_HW
) -> str:
    """Write annotations for the photo, and return the dataset string. `frame_hw` is the size of which YOLO's fractions are.

    The photo is written where the format expects it, unless it exists.
    """
    left, top, right, bottom = box
    if not (root / _PLACES[scheme]).exists():
        write_photo(root / _PLACES[scheme], box)
    if scheme == "coco":
        size = {} if stated_hw is None else {"width": stated_hw[1], "height": stated_hw[0]}
        content = {
            "images": [{"id": 1, "file_name": "0.png", **size}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}],
        }
        (root / "instances.json").write_text(json.dumps(content))
    elif scheme == "voc":
        size_tag = "" if stated_hw is None else f"<size><width>{stated_hw[1]}</width><height>{stated_hw[0]}</height></size>"
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations/0.xml").write_text(f"<annotation><filename>0.png</filename>{size_tag}{thing(box=box)}</annotation>")
    elif scheme == "csv":
        sizes = ("", "") if stated_hw is None else stated_hw
        (root / "boxes.csv").write_text(
            f"path,height,width,xmin,ymin,xmax,ymax,label\n0.png,{sizes[0]},{sizes[1]},{left},{top},{right},{bottom},cat\n"
        )
        return f"csv:{root / 'boxes.csv'}"
    else:
        height, width = frame_hw
        (root / "labels").mkdir(exist_ok=True)
        values = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
        (root / "labels/0.txt").write_text(f"0 {' '.join(map(repr, values))}\n")
    return f"{scheme}:{root}"


def place(root: Path, scheme: str) -> Path:
    """Return the file of the photo."""
    return root / _PLACES[scheme]
