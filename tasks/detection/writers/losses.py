"""Information that is lost when a detection dataset is written in a given format."""

from __future__ import annotations

import numpy as np

from zoo.data.writers import Content, count
from zoo.tasks.detection.data.targets import Target

_WORDS = {"iscrowd": "boxes are crowds", "difficult": "boxes are difficult"}


def own_area(target: Target) -> bool:
    """Return whether every area equals that of its box, in which case areas needn't be written."""
    boxes = target["boxes"]
    # areas computed in float64 differ in the last digit
    return "area" not in target or np.allclose(target["area"], (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), rtol=1e-6)


def marks_lost(content: Content, *names: str) -> list[str]:
    """Return a message for each of the named marks that would be lost, with the number of affected boxes or images.

    The mark "area" is lost where it differs from the area of the box.
    """
    lost = []
    for name in names:
        if name == "area":
            pictures = sum(not own_area(picture.record.target) for picture in content.pictures)
            if pictures:
                lost.append(f"{pictures} images have boxes with the area of a mask: it is replaced by the area of the box")
        elif boxes := sum(count(picture.record.target, name) for picture in content.pictures):
            lost.append(f"{boxes} {_WORDS[name]}: they become ordinary boxes")
    return lost
