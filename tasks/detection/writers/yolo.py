"""Write the `yolo:` format: images, labels, and Ultralytics' `data.yaml` with a list of images per split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml

from zoo.data.writers import Content, Writer, same_stem
from zoo.images.decoding import size
from zoo.system.files import write_text
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.data.yolo_layout import SPLITS, fractions
from zoo.tasks.detection.writers import WRITERS
from zoo.tasks.detection.writers.losses import marks_lost


def write_yolo(content: Content, out: Path) -> None:
    """Write the images, one label file per image, and `data.yaml`. A dataset without splits gets `classes.txt` instead of `data.yaml`."""
    for picture in content.pictures:
        content.put(picture, out / "images" / picture.name)
        target = as_target(picture.record.target, picture.name)
        lines = list(_lines(target, size(out / "images" / picture.name)))
        file = out / "labels" / PurePosixPath(picture.name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, "".join(f"{line}\n" for line in lines))
    if not content.splits:
        write_text(out / "classes.txt", "".join(f"{name}\n" for name in content.classes))
        return
    for split in content.splits:
        write_text(out / f"{split}.txt", "".join(f"./images/{picture.name}\n" for picture in content.of_split(split)))
    description = {"path": ".", **{split: f"{split}.txt" for split in content.splits}, "names": dict(enumerate(content.classes))}
    write_text(out / "data.yaml", yaml.safe_dump(description, sort_keys=False, allow_unicode=True))


def _lines(target: Target, size_hw: tuple[int, int]) -> Iterator[str]:
    for label, box in zip(target["labels"].tolist(), target["boxes"], strict=True):
        yield f"{label} {' '.join(map(repr, fractions(box, size_hw)))}"


def _losses(content: Content) -> list[str]:
    lost = marks_lost(content, "iscrowd", "difficult", "area")
    lost += [f"{first} and {second} would share one label file" for first, second in same_stem(content.pictures)]
    lost += [f"the split {split!r} is not one of {', '.join(SPLITS)}" for split in content.splits if split not in SPLITS]
    lost += [
        f"the name {picture.name!r} has leading or trailing spaces" for picture in content.pictures if picture.name != picture.name.strip()
    ]
    return lost


WRITERS.add("yolo", Writer(write_yolo, _losses))
