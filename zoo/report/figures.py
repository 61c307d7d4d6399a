"""Images of mistakes: the whole image with its boxes, an enlarged crop, and saliency maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Image
from zoo.errors import Box
from zoo.report.pages import fitting_uri, text

SIDE = 336  # pixels: length of the longer side of a displayed image
_SMALL = 3  # an enlarged crop is added if all boxes together span less than 1/3 of both image sides
_CONTEXT = 1.8  # side of the enlarged crop relative to the extent of the boxes
_BOLD = 8  # maximum number of boxes drawn with thick lines
_LEAST = 24  # pixels of the original image: minimum side of an enlarged crop

Boxes = Sequence[tuple[Box, str]]  # boxes (xyxy, in pixels of the original image) with captions
COLOURS = ((220, 38, 38), (37, 99, 235), (217, 119, 6), (5, 150, 105), (147, 51, 234), (8, 145, 178))  # by kind of box


@dataclass(frozen=True)
class Drawn:
    """A displayed image of a mistake, [h, w, 3] uint8 RGB, with its caption."""

    image: Image
    text: str


def as_html(image: Image | str, alt: str, most: int, below: str = "") -> str:
    """Return an image as HTML, encoded in at most `most` characters; 0 omits the image data.

    `image` is a text if the image can't be shown. The text is then displayed in its place.
    """
    if isinstance(image, str):
        return f'<figure><div class="lost">{text(image)}</div></figure>'
    height, width = image.shape[:2]
    uri = fitting_uri(image, most) if most else ""
    return f'<figure><img alt="{text(alt)}" width="{width}" height="{height}" src="{uri}">{below}</figure>'


def kind_of(caption: str) -> str:
    """Return the kind of a box, such as "true" or "missed": the first word of its caption. The kind determines the colour."""
    return caption.partition(" ")[0]


def kinds_of(captions: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each kind of box, in order of first occurrence."""
    kinds = dict.fromkeys(map(kind_of, captions))
    return {kind: COLOURS[place % len(COLOURS)] for place, kind in enumerate(kinds)}


def pictures(image: Image, name: str, boxes: Boxes, colours: Mapping[str, tuple[int, int, int]]) -> list[Drawn]:
    """Return the displayed image with its boxes and, if the boxes are small, an enlarged crop.

    `image` is [H, W, 3] uint8 RGB, and `name` is its caption.
    """
    height, width = image.shape[:2]
    drawn = [Drawn(with_boxes(image, boxes, colours, numbered=True), name)]
    part = _part(boxes, height, width)
    if part is not None:
        left, top, right, bottom = part
        where = f"enlarged: {right - left} × {bottom - top} of {width} × {height} pixels"
        drawn.append(Drawn(with_boxes(image, boxes, colours, numbered=True, part=part), where))
    return drawn


def _part(boxes: Boxes, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the crop [left, top, right, bottom] around all boxes; None if they are large enough or there are no boxes."""
    known = np.array([box for box, _ in boxes], np.float64).reshape(-1, 4)
    known = known[np.isfinite(known).all(1)]
    if not len(known):
        return None
    limits = np.array([width, height, width, height])
    known = np.clip(known, 0, limits)
    left, top, right, bottom = known[:, 0].min(), known[:, 1].min(), known[:, 2].max(), known[:, 3].max()
    if _SMALL * (right - left) >= width or _SMALL * (bottom - top) >= height:
        return None
    reach = max(_CONTEXT * max(right - left, bottom - top), _LEAST) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    spots = np.clip([x - reach, y - reach, x + reach, y + reach], 0, limits).round().astype(int)
    return int(spots[0]), int(spots[1]), int(spots[2]), int(spots[3])


def with_boxes(
    image: Image, boxes: Boxes, colours: Mapping[str, tuple[int, int, int]], numbered: bool, part: tuple[int, int, int, int] | None = None
) -> Image:
    """Return an image, or the crop `part` of it (xyxy), at display size with its boxes.

    If `numbered` is true and there are several boxes, they are numbered.
    """
    left, top, right, bottom = part or (0, 0, image.shape[1], image.shape[0])
    small, scale = scaled(image[top:bottom, left:right])
    for number, (box, caption) in enumerate(boxes, 1):
        if np.isfinite(box).all():
            sides = [(side - start) * scale for side, start in zip(box, (left, top, left, top), strict=True)]
            _draw(small, sides, colours[kind_of(caption)], number if numbered and len(boxes) > 1 else 0, bold=len(boxes) <= _BOLD)
    return small


def scaled(image: Image) -> tuple[Image, float]:
    """Return a copy whose longer side is `SIDE`, and the scale factor. Very small images are enlarged without smoothing."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale > 3 else cv2.INTER_CUBIC
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=method).astype(np.uint8), scale


def _draw(image: Image, sides: Sequence[float], colour: tuple[int, int, int], number: int, bold: bool) -> None:
    # clamp boxes far outside the image, because OpenCV only accepts 32-bit numbers
    left, top, right, bottom = (round(min(max(side, -4), 2 * SIDE)) for side in sides)
    if bold:
        cv2.rectangle(image, (left, top), (right, bottom), (255, 255, 255), 4)  # white outline, visible on dark and bright images
    cv2.rectangle(image, (left, top), (right, bottom), colour, 2 if bold else 1)
    if number:
        (wide, high), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        # a predicted box and its true box often nearly coincide, so even and odd numbers are placed at different corners
        corner = left if number % 2 else right - wide - 5
        x, y = min(max(corner, 0), image.shape[1] - wide - 6), min(max(top - high - 6, 0), image.shape[0] - high - 6)
        cv2.rectangle(image, (x, y), (x + wide + 5, y + high + 5), colour, -1)
        cv2.putText(image, str(number), (x + 3, y + high + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


def overlaid(image: Image, heat: NDArray[np.float32]) -> Image:
    """Overlay a saliency map, [H, W] in 0–1, on an image, [H, W, 3] uint8 RGB. Pixels where the map is 0 are unchanged."""
    small, _ = scaled(image)
    large = cv2.resize(heat, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = cv2.applyColorMap((large * 255).round().astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    weight = 0.65 * large[..., None]
    return (small * (1 - weight) + colours * weight).round().astype(np.uint8)
