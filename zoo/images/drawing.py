"""Helpers for drawing on images: fonts, text sizes that fit the image, and captions."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER = (255, 255, 255), (24, 24, 32)
_SMALLEST = 256  # side in pixels; smaller images are enlarged before text is added


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that is bundled with Pillow, with `size` in pixels."""
    return ImageFont.load_default(size)


def enlargement(size: tuple[int, int]) -> int:
    """Return the integer factor by which `caption` enlarges an image of the given width and height."""
    return max(1, -(-_SMALLEST // max(size)))


def text_size(size: tuple[int, int]) -> int:
    """Return a text height in pixels that is readable when the whole image of the given width and height is viewed."""
    return max(12, max(size) // 36, size[0] // 28)


def caption(image: NDArray[np.uint8], lines: list[str]) -> Image.Image:
    """Return an image ([H, W, 3] uint8, RGB) with lines of text below it. Small images are enlarged without smoothing."""
    picture = Image.fromarray(image)
    enlarge = enlargement(picture.size)
    if enlarge > 1:
        picture = picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.NEAREST)
    size = max(12, picture.width // 28)
    chosen = font(size)
    measure = ImageDraw.Draw(picture)
    width = max([picture.width, *(int(measure.textlength(line, font=chosen)) + size for line in lines)])
    sheet = Image.new("RGB", (width, picture.height + (len(lines) * 3 + 1) * size // 2), _PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        draw.text((size // 2, picture.height + size // 2 + row * size * 3 // 2), line, fill=_INK, font=chosen)
    return sheet
