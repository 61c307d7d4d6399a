"""Checks of the boxes accepted by the reader against the actual image sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.curation.check.findings import Finding
from zoo.curation.check.items import Item
from zoo.curation.check.pictures import Facts
from zoo.data.dataset import wrong_size
from zoo.errors import Box

_TOLERANCE = 1.0  # pixels: boxes may extend this far beyond the image because of rounding; the readers clip them
_SAME = 0.5  # pixels: boxes that differ by no more than this on every side are duplicates
_WHOLE = 0.99  # minimum fraction of the image area covered by a box that is reported as covering the whole image
_MISREAD = 0.1  # minimum fraction of boxes that fit the other convention; fewer are isolated mistakes


def findings(items: Sequence[Item], facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report images of another size than annotated, and boxes that are duplicates, outside, whole images or smaller than a pixel."""
    for item, fact in zip(items, facts, strict=True):
        if item.boxes is None or item.plain is None:
            continue
        if item.record.size_hw is not None and item.record.size_hw != fact.size_hw and not fact.fault:
            yield Finding("wrong-size", item.key, wrong_size(item.record.size_hw, fact.size_hw))
            continue
        if not len(item.boxes):
            yield Finding("no-objects", item.key, "is annotated as an image without objects")
        found = list(_repeated(item.boxes, item.labels))
        if not fact.fault:
            found += _against(item.boxes, item.plain, fact.size_hw)
        for kind, index, text in found:
            left, top, right, bottom = item.boxes[index].tolist()
            shown = f"box [{left:g}, {top:g}, {right:g}, {bottom:g}] (xyxy, {item.labels[index]}) {text}"
            yield Finding(kind, item.key, shown, f"box {index + 1}", box=(left, top, right, bottom))


def _against(boxes: NDArray[np.float32], plain: NDArray[np.bool_], size_hw: tuple[int, int]) -> Iterator[tuple[str, int, str]]:
    """Check the boxes of an image against its actual size; yield the kind, the index of the box and the text of each finding."""
    height, width = size_hw
    for index, (left, top, right, bottom) in enumerate(boxes.tolist()):
        if max(-left, -top, right - width, bottom - height) > _TOLERANCE:
            yield "box-outside", index, f"lies outside the image of {width}×{height} pixels"
        elif max(left, top, right, bottom) <= 1 and min(height, width) > 1:
            yield "box-normalised", index, "is smaller than a pixel; it seems to be normalised to 0–1, expected pixels"
        elif plain[index] and (right - left) * (bottom - top) >= _WHOLE * height * width:
            yield "box-whole-picture", index, "covers the whole image"


def _repeated(boxes: NDArray[np.float32], labels: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """Find boxes that duplicate an earlier box of the same image; yield the kind, the index of the box and the text of each finding."""
    order = np.argsort(boxes[:, 0], kind="stable")  # sorted by left side, so that duplicates are near each other
    for at, index in enumerate(order):
        for other in order[at + 1 :]:
            if boxes[other, 0] - boxes[index, 0] > _SAME:
                break
            if np.abs(boxes[other] - boxes[index]).max() <= _SAME:
                first, second = sorted((int(index), int(other)))
                under = "" if labels[first] == labels[second] else f", labelled {labels[first]!r} there"
                yield "box-duplicate", second, f"duplicates box {first + 1}{under}"
                break


def misread(found: Sequence[Finding], items: Sequence[Item], facts: Sequence[Facts], data: str) -> Iterator[Finding]:
    """Report boxes that the reader rejected, but that are valid in the other convention (corners, or x, y, width and height).

    Corners that are read as x, y, width and height extend beyond the image. Conversely, x, y, width and height that are read as corners
    often have swapped corners. `found` are the findings of the reader, and `data` is the key of the reported finding.
    """
    # by file stem, because an image and its annotation file have the same stem
    sizes = {Path(item.key).stem: fact.size_hw for item, fact in zip(items, facts, strict=True) if not fact.fault}
    if not sizes:
        return
    # findings in a table don't identify an image: use the largest image size, which is the most lenient
    largest = max(height for height, _ in sizes.values()), max(width for _, width in sizes.values())
    total = sum(len(item.boxes) for item in items if item.boxes is not None) + sum(finding.box is not None for finding in found)
    for kind, sign, read_as, are in (
        ("box-outside", -1, "x, y, width, height", "corners x1, y1, x2, y2"),
        ("box-swapped", 1, "corners x1, y1, x2, y2", "x, y, width, height"),
    ):
        refused = [(finding.key, finding.box) for finding in found if finding.kind == kind and finding.box is not None]
        fits = sum(_fits(box, sign, sizes.get(Path(key).stem, largest)) for key, box in refused)
        if fits >= max(2, _MISREAD * total) and fits >= 0.9 * len(refused):
            text = f"{fits} of {total} boxes are invalid as {read_as} but fit their images as {are}"
            yield Finding("box-xywh", data, f"{text}. Convert the annotations or specify their box format")


def _fits(box: Box, sign: int, size_hw: tuple[int, int]) -> bool:
    """Return whether a box lies inside the image after adding its first two numbers, times `sign` (1 or -1), to the last two."""
    left, top, right, bottom = box[0], box[1], box[2] + sign * box[0], box[3] + sign * box[1]
    return 0 <= left < right <= size_hw[1] + _TOLERANCE and 0 <= top < bottom <= size_hw[0] + _TOLERANCE
