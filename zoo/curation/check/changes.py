"""Changes that `zoo data check --fix` makes to annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zoo.errors import Box


@dataclass(frozen=True)
class Change:
    """A row of `changes.csv`.

    Attributes:
        action: "removed", "changed", or "kept" for a finding that is left alone because fixing it would be a guess.
        file: annotation file or image.
        place: position in the file, such as "line 12"; "" for none.
    """

    action: Literal["removed", "changed", "kept"]
    file: str
    place: str
    text: str


def mend_box(box: Box, size_hw: tuple[float, float]) -> tuple[Box | None, str]:
    """Fix a box (xyxy) if there is only one way to do so; `size_hw` is the size of the image, in the unit of the box.

    Returns:
        The box with its corners in order and clipped to the image, or None if nothing of it is left; and a description of the fix, or of
        the reason for None ("" for a valid box).
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
