"""Changes to annotations made by `zoo data check --fix`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zoo.errors import Box


@dataclass(frozen=True)
class Change:
    """A row of `changes.csv`.

    Attributes:
        action: "removed", "changed", or "kept" for a finding that isn't fixed because fixing it would be a guess.
        file: annotation file or image.
        place: position in the file, such as "line 12"; "" for none.
        text: description of the change or finding.
    """

    action: Literal["removed", "changed", "kept"]
    file: str
    place: str
    text: str


def mend_box(box: Box, size_hw: tuple[float, float]) -> tuple[Box | None, str]:
    """Reorder the corners of a box (xyxy) and clip it to the image.

    Args:
        box: the box.
        size_hw: height and width of the image, in the unit of the box.

    Returns:
        The corrected box, or None if it has no area or lies outside the image; and a description of the fix or of the reason for None (""
        for a valid box).
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
