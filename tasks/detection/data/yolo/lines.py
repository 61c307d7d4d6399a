"""Lines of YOLO's label files: boxes, outlines, oriented boxes and poses; and conversion of box coordinates."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from zoo.data.names import nfc
from zoo.errors import Box, Flaw
from zoo.system.wording import counted
from zoo.tasks.detection.data.targets import checked_box

_PIXELS = 4.0  # threshold for coordinates: larger values are pixels, smaller ones fractions, even if the box exceeds the image
_SEEN = 100  # lines by which poses are recognised
_VISIBILITY = re.compile(r"[012](\.0*)?")

Keypoints = tuple[int, int]  # number of keypoints, and 2 (x, y) or 3 (x, y, visibility) values of each


def corners(line: Box, size_hw: tuple[float, float]) -> Box:
    """Convert a box from centre and size, as fractions of the image size, to xyxy in pixels."""
    (cx, cy, width, height), (high, wide) = line, size_hw
    return (cx - width / 2) * wide, (cy - height / 2) * high, (cx + width / 2) * wide, (cy + height / 2) * high


def fractions(box: NDArray[np.float32] | Sequence[float], size_hw: tuple[int, int]) -> Box:
    """Convert a box, xyxy in pixels, to centre and size as fractions of the image size.

    `corners` restores the same float32 coordinates, because float64 fractions are more precise than them by a factor of 2^29.
    """
    left, top, right, bottom = (float(side) for side in box)
    high, wide = size_hw
    return (left + right) / 2 / wide, (top + bottom) / 2 / high, (right - left) / wide, (bottom - top) / high


def find_keypoints(lines: Iterable[Sequence[str]]) -> Keypoints | None:
    """Return the keypoints of poses whose numbers are unknown; None if the lines aren't poses.

    All lines of a pose dataset are equally long, and every third value after the box is a visibility: 0, 1 or 2.
    """
    long = list(islice((values for values in lines if len(values) > 6), _SEEN))
    if not long or len(long[0]) % 3 != 2 or any(len(values) != len(long[0]) for values in long):
        return None
    is_pose = all(_VISIBILITY.fullmatch(value) for values in long for value in values[7::3])
    return ((len(long[0]) - 5) // 3, 3) if is_pose else None


class LineReader:
    """Reads the boxes of lines, and notes what isn't a plain box: what was converted or ignored, and in which lines."""

    def __init__(self, names: Sequence[str], keypoints: Keypoints | None) -> None:
        self._names = names
        self._label = {nfc(name): index for index, name in enumerate(names)}
        self._pose = keypoints and 4 + keypoints[0] * keypoints[1]  # values of a pose
        self._found: dict[str, tuple[int, str]] = {}  # number of lines, and the first one

    @property
    def notes(self) -> list[str]:
        """What was converted or ignored, one line for each kind."""
        return [f"{counted(count, 'line')} with {what}, such as {place}" for what, (count, place) in self._found.items()]

    def read(self, values: Sequence[str], size_hw: tuple[float, float], place: str) -> tuple[Box, int, bool]:
        """Return the box, xyxy in pixels, the label, and whether the object is difficult; or raise a `Flaw`. `place` is for the notes."""
        if is_dota(values):
            return self._dota(values, size_hw, place)
        try:
            label, *numbers = (float(value) for value in values)
        except ValueError:
            expected = "five numbers, class cx cy w h" if len(values) == 5 else "numbers, class cx cy w h or class x1 y1 x2 y2 x3 y3 …"
            raise Flaw(f"is {' '.join(values)[:60]!r}; expected {expected}") from None
        if len(values) < 5:
            raise Flaw(f"has {len(values)} values; expected class cx cy w h")
        if not label.is_integer() or not 0 <= label < len(self._names):
            raise Flaw(f"the class is {values[0][:20]}; expected a whole number from 0 to {len(self._names) - 1}", "unknown-label")
        return self._box(numbers, size_hw, values, place), int(label), False

    def _box(self, numbers: list[float], size_hw: tuple[float, float], values: Sequence[str], place: str) -> Box:
        pose, count = self._pose, len(numbers)
        if pose and count > 5 and count not in (pose, pose + 1):
            raise Flaw(f"has {len(values)} values; expected {1 + pose} for a pose, or class cx cy w h")
        confident = count in (5, pose + 1) if pose else count % 2 == 1
        if confident and not 0 <= numbers[-1] <= 1:
            raise Flaw(f"has {len(values)} values, and the last is {values[-1][:20]}; expected a confidence from 0 to 1")
        if pose or count <= 5:
            cx, cy, width, height = numbers[:4]
            box = _inside((cx, cy, width, height), corners((cx, cy, width, height), size_hw), size_hw, values[1:5], "cx cy w h")
        else:
            points = numbers[:-1] if confident else numbers
            xs, ys, (high, wide) = points[::2], points[1::2], size_hw
            box = _inside(points, (min(xs) * wide, min(ys) * high, max(xs) * wide, max(ys) * high), size_hw, values[1:], "the points")
        if count > 5:
            what = "a pose, of which only the box is read" if pose else "an outline or an oriented box, read as the box that encloses it"
            self._note(what, place)
        if confident:
            self._note("a confidence, which is ignored", place)
        return box

    def _dota(self, values: Sequence[str], size_hw: tuple[float, float], place: str) -> tuple[Box, int, bool]:
        """Read a line in DOTA's format: the four corners in pixels, the name of the class, and optionally whether it is difficult."""
        try:
            numbers = [float(value) for value in values[:8]]
        except ValueError:
            raise Flaw(f"is {' '.join(values)[:60]!r}; expected x1 y1 x2 y2 x3 y3 x4 y4 class difficult") from None
        name, difficult = dota_class(values, self._label)
        if name not in self._label:
            raise Flaw(f"the class is {name[:40]!r}; expected one of {', '.join(self._names)[:200]}", "unknown-label")
        xs, ys = numbers[::2], numbers[1::2]
        if not all(map(math.isfinite, numbers)):
            raise Flaw(f"the points are {' '.join(values[:8])}; expected finite numbers")
        box = checked_box((min(xs), min(ys), max(xs), max(ys)), size_hw)
        self._note("an oriented box in DOTA's format, read as the box that encloses it", place)
        return box, self._label[name], difficult

    def _note(self, what: str, place: str) -> None:
        count, first = self._found.get(what, (0, place))
        self._found[what] = count + 1, first


def is_header(line: str) -> bool:
    """Return whether a line is one of the two with which DOTA's files begin."""
    return line.startswith(("imagesource:", "gsd:"))


def is_dota(values: Sequence[str]) -> bool:
    """Return whether values are a line in DOTA's format: the ninth starts the name of a class, which may contain spaces."""
    if len(values) < 11:
        return len(values) > 8 and not _is_number(values[8])
    return all(map(_is_number, values[:8])) and not any(map(_is_number, values[8:-1]))


def dota_class(values: Sequence[str], known: Container[str] = ()) -> tuple[str, bool]:
    """Return the class in a line in DOTA's format, and whether the object is difficult, which a number after the name states.

    A name that ends in a number isn't divided if it is `known`.
    """
    whole = nfc(" ".join(values[8:]))
    if len(values) == 9 or whole in known or not _is_number(values[-1]):
        return whole, False
    return nfc(" ".join(values[8:-1])), values[-1] != "0"


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _inside(given: Sequence[float], box: Box, size_hw: tuple[float, float], values: Sequence[str], what: str) -> Box:
    """Return a box, clipped if rounding has moved it beyond the image; or raise a `Flaw` that describes its fractions."""
    if all(0 <= value <= 1 for value in given):
        return checked_box(box, size_hw)
    reason = f"{what} are {' '.join(values)[:60]}; expected fractions of the image, from 0 to 1"
    if not all(map(math.isfinite, given)):
        raise Flaw(reason)
    if max(map(abs, given)) > _PIXELS:
        raise Flaw(reason, "box-normalised")
    try:
        return checked_box(box, size_hw)
    except Flaw:
        raise Flaw(reason, "box-outside", box) from None
