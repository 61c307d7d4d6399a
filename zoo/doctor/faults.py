"""What a reader found wrong while opening, sorted into the doctor's kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.doctor.findings import Finding
from zoo.errors import Fault

# the first that fits decides; a reader's sentence that fits none is reported all the same, as "annotation"
_WORDS = tuple(
    (re.compile(words, re.IGNORECASE), kind)
    for words, kind in (
        (r"^named by .* line \d+:|announces \d+ pairs|expected (person n m|two pictures of one person)", "bad-pair"),
        (r"leaves the data's folder|leads out of", "annotation"),
        (r"has no area", "box-no-area"),
        (r"lies outside the picture|expected fractions of the picture", "box-outside"),
        (r"there twice|a second time|given twice|repeat|which another annotation has", "repeated-id"),
        (r"no such (category|class)|label is empty|has no name|the class is .*expected", "unknown-label"),
        (r"(class|person) folder without pictures", "empty-class"),
        (r"outside every (person|class)'s folder|missing from Annotations", "no-annotation"),
        (r"picture .*is missing|not in images|can't be found|without a? ?picture|has no picture|no picture ", "no-picture"),
        (r"is cut short|Premature end", "truncated"),
        (r"is too large", "huge"),
        (r"does not exist", "missing-file"),
        (r"is damaged|is empty \(0 bytes\)|expected JPEG, PNG", "unreadable"),
    )
)
_PLACE = re.compile(r"\b(object \d+|annotation id [^\s:]+|annotations\[\d+\]|image id [^\s:]+|(?:line|row|pair|box) \d+)")
_FRACTIONS = re.compile(r"cx cy w h are (.+); expected fractions")
_NUMBER = re.compile(r"\d+(?:\.\d*)?")
_PIXELS = 4.0  # a box that merely sticks out has its centre and size well below; numbers above are pixels
_BOX = re.compile(r"the box \[([^\]]+)\] \(xyxy\)")

Box = tuple[float, float, float, float]


def kind_of(reason: str) -> str:
    """Return the kind of a reader's reason."""
    kind = next((kind for words, kind in _WORDS if words.search(reason)), "annotation")
    box = box_of(reason)
    if found := _FRACTIONS.search(reason):
        return "box-normalised" if any(float(number) > _PIXELS for number in _NUMBER.findall(found[1])) else kind
    if kind == "box-no-area" and box is not None and (box[2] < box[0] or box[3] < box[1]):
        return "box-swapped"
    return kind


def box_of(reason: str) -> Box | None:
    """Return the box, xyxy in pixels, that a reason quotes."""
    found = _BOX.search(reason)
    if found is None:
        return None
    try:
        left, top, right, bottom = (float(side) for side in found[1].split(","))
    except ValueError:
        return None
    return left, top, right, bottom


def findings(faults: Sequence[Fault], root: Path | None) -> Iterator[Finding]:
    """Turn what the reader found into findings.

    Args:
        faults: as it collected them.
        root: the data's folder, relative to which files are named.
    """
    for fault in faults:
        key, place = fault.key, ""
        if found := re.fullmatch(r"(.+) ((?:line|row) \d+|header)", key):
            key, place = found[1], found[2]
        if root is not None and key.startswith(f"{root}/"):
            key = key.removeprefix(f"{root}/")
        if not place and (found := _PLACE.search(fault.reason)):
            place = found[1]
        yield Finding(kind_of(fault.reason), key, fault.reason, place, box=box_of(fault.reason))
