"""Contact sheet of samples with their targets, as one image or as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zoo.images.drawing import lettering
from zoo.report import pages

_CELL, _GAP, _TEXT = 224, 10, 13  # pixels
_PAPER, _INK, _GREY = (250, 250, 251), (28, 32, 36), (120, 128, 136)
_COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207), (227, 119, 194), (188, 189, 34))
_NAMED = 8  # maximum number of boxes drawn with names: more names would hide the image
_NARROW = 24  # pixels: narrower boxes are drawn without a name
_STYLE = """
figure{max-width:100%}figure div{display:flex;gap:4px;overflow-x:auto}figcaption{max-width:224px}
.sheet img{width:224px;height:224px;max-width:none}
"""


@dataclass(frozen=True)
class Seen:
    """An image with its target, for display."""

    key: str
    image: NDArray[np.uint8]  # [h, w, 3] RGB, without padding and not normalised
    labels: tuple[str, ...]  # class name of the image, or one class name per box
    boxes_xyxy: NDArray[np.float32] | None = None  # [N, 4] in pixels of `image`; None if the task has no boxes
    details: tuple[str, ...] = ()  # text drawn after the name of each box, "" for none; empty if there are none


def sheet(rows: Sequence[Sequence[Seen]], title: str, classes: Sequence[str]) -> Image.Image:
    """Draw the variants of each sample side by side on one sheet, with one box colour per class."""
    each = max(len(variants) for variants in rows)
    columns = max(1, round(6 / each)) if each > 1 else min(6, len(rows))
    cell_h = _CELL + 3 * _TEXT
    width = columns * (each * (_CELL + 4) - 4) + (columns + 1) * _GAP
    lines = -(-len(rows) // columns)
    whole = Image.new("RGB", (width, 3 * _TEXT + lines * (cell_h + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(whole)
    _write(draw, (_GAP, _TEXT // 2 + 2), title, _INK, _TEXT + 2)
    for index, variants in enumerate(rows):
        left = _GAP + (index % columns) * (each * (_CELL + 4) - 4 + _GAP)
        top = 3 * _TEXT + (index // columns) * (cell_h + _GAP)
        for place, one in enumerate(variants):
            whole.paste(_cell(one, classes), (left + place * (_CELL + 4), top))
        room = each * (_CELL + 4)
        _label(draw, (left, top + _CELL + 3), variants[0], classes, room)
        _write(draw, (left, top + _CELL + 4 + _TEXT * 5 // 4), _cut(variants[0].key, room), _GREY, _TEXT - 2)
    return whole


def page(rows: Sequence[Sequence[Seen]], title: str, classes: Sequence[str], quality: int | None = None) -> str:
    """Return the sheet as an HTML page that loads no external resources.

    `quality` is the JPEG quality of the images, 0–100; None uses lossless PNGs, which are about ten times larger.
    """
    figures = "\n".join(_figure(variants, classes, quality) for variants in rows)
    return pages.page(title, [f"<h1>{pages.text(title)}</h1>", f'<div class="sheet">\n{figures}\n</div>'], _STYLE)


def _figure(variants: Sequence[Seen], classes: Sequence[str], quality: int | None) -> str:
    pictures = "".join(f'<img alt="" src="{pages.data_uri(np.asarray(_cell(one, classes)), quality)}">' for one in variants)
    names = variants[0].labels
    if variants[0].boxes_xyxy is None or not names:
        caption = pages.text(", ".join(names) or "no label")
    else:
        marks = {name: "#{:02x}{:02x}{:02x}".format(*_colour(name, classes)) for name in names}
        caption = " ".join(f'<b style="color:{colour}">■</b> {names.count(name)} {pages.text(name)}' for name, colour in marks.items())
    return f"<figure><div>{pictures}</div><figcaption>{caption}<br><small>{pages.text(variants[0].key)}</small></figcaption></figure>"


def _cell(one: Seen, classes: Sequence[str]) -> Image.Image:
    """Return an image centred in a square. Boxes are drawn after scaling, so that lines are thin and names readable."""
    height, width = one.image.shape[:2]
    scale = _CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    square = Image.new("RGB", (_CELL, _CELL), (232, 234, 237))
    offset = ((_CELL - size[0]) // 2, (_CELL - size[1]) // 2)
    square.paste(Image.fromarray(one.image).resize(size, method), offset)
    draw = ImageDraw.Draw(square)
    details = one.details or ("",) * len(one.labels)
    for box, name, detail in zip(one.boxes_xyxy if one.boxes_xyxy is not None else [], one.labels, details, strict=False):
        colour = _colour(name, classes)
        left, top, right, bottom = (float(side) * scale + offset[place % 2] for place, side in enumerate(box))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
        if len(one.labels) <= _NAMED and right - left > _NARROW:
            place_of_name = (left + 3, top + 2)
            label, font = lettering(f"{name}: {detail}" if detail else name, 11)
            draw.rectangle(draw.textbbox(place_of_name, label, font=font), fill=_PAPER)  # keeps the name readable on any image
            draw.text(place_of_name, label, fill=colour, font=font)
    return square


def _label(draw: ImageDraw.ImageDraw, place: tuple[int, int], one: Seen, classes: Sequence[str], room: int) -> None:
    """Write the class name or, for boxes, the number of boxes of each class in the colour of the class."""
    if one.boxes_xyxy is None or not one.labels:
        _write(draw, place, _cut(", ".join(one.labels) or "no label", room), _INK, _TEXT)
        return
    left = float(place[0])
    for name in dict.fromkeys(one.labels):
        text, font = lettering(f"{one.labels.count(name)} {name}  ", _TEXT)
        if left + font.getlength(text) > place[0] + room:
            _write(draw, (left, place[1]), "…", _INK, _TEXT)
            return
        draw.text((left, place[1]), text, fill=_colour(name, classes), font=font)
        left += font.getlength(text)


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: tuple[int, int, int], size: int) -> None:
    drawn, font = lettering(text, size)
    draw.text(place, drawn, fill=colour, font=font)


def _colour(name: str, classes: Sequence[str]) -> tuple[int, int, int]:
    return _COLOURS[(classes.index(name) if name in classes else 0) % len(_COLOURS)]


def _cut(text: str, room: int) -> str:
    most = max(8, room * 2 // _TEXT)
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
