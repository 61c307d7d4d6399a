"""Changes to annotations that a fix makes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.curation.check.examination import Examination
from zoo.errors import Box


@dataclass(frozen=True)
class Change:
    """One line of `changes.csv`.

    Attributes:
        action: removed, changed, or kept – found wrong, and left as it is because mending it would be a guess.
        file: the annotation file or picture.
        place: where in it.
        text: what was done, and why.
    """

    action: Literal["removed", "changed", "kept"]
    file: str
    place: str
    text: str


def as_csv(header: Iterable[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return a table as text."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def lost_files(examination: Examination) -> dict[Path, str]:
    """Return the pictures that can't be read, with the reason."""
    pairs = zip(examination.opened.items, examination.facts, strict=True)
    return {item.file: fact.fault for item, fact in pairs if fact.fault and item.file is not None}


def sizes_hw(examination: Examination) -> dict[Path, tuple[int, int]]:
    """Return the height and width of every picture that can be read."""
    pairs = zip(examination.opened.items, examination.facts, strict=True)
    return {item.file: fact.size_hw for item, fact in pairs if not fact.fault and item.file is not None}


def mend_box(box: Box, size_hw: tuple[float, float]) -> tuple[Box | None, str]:
    """Mend a box where there is only one way to.

    Args:
        box: xyxy.
        size_hw: of the picture, in the same unit.

    Returns:
        The box with its corners in order and within the picture, or None where nothing of it is left; and what was done, or "".
    """
    height, width = size_hw
    left, right = sorted((box[0], box[2]))
    top, bottom = sorted((box[1], box[3]))
    done = ["corners put in order"] if (left, top, right, bottom) != box else []
    inside = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
    if left == right or top == bottom:
        return None, "no area"
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, "wholly outside the picture"
    if inside != (left, top, right, bottom):
        done.append("cut at the picture's edge")
    return inside, " and ".join(done)
