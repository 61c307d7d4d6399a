"""Helpers for drawing on images: fonts, text sizes that fit the image, and captions."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER = (255, 255, 255), (24, 24, 32)
_SMALLEST = 256  # side in pixels; smaller images are enlarged before text is added
BOXED = 480  # pixels of the longer side; smaller images are enlarged before boxes are drawn, so that their labels are readable


@functools.cache
def lettering(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return a text as it can be drawn and a font with `size` in pixels.

    The font is the first one with all characters of the text: Pillow's, matplotlib's DejaVu Sans (Cyrillic, Greek, Arabic and others), or
    one of the system (Chinese, Japanese, Korean and others). If no font has all, it is the one with most of them, and the others are
    replaced by escape sequences.
    """
    needed = frozenset(map(ord, text)) - {ord("\n")}
    for file in _fonts():
        if needed <= _characters(file):
            return text, _font(file, size)
    best = max(_fonts(), key=lambda file: len(needed & _characters(file)))
    known = _characters(best)
    escaped = "".join(sign if ord(sign) in known else sign.encode("ascii", "backslashreplace").decode("ascii") for sign in text)
    return escaped, _font(best, size)


def _fonts() -> Iterator[str | None]:
    """Yield font files, those of the system sorted by path; None for the font that is part of Pillow."""
    yield from (None, _dejavu())
    yield from _system_fonts()


@functools.cache
def _font(file: str | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


@functools.cache
def _characters(file: str | None) -> frozenset[int]:
    """Return the code points that a font has glyphs for; none if the file can't be read."""
    from matplotlib.ft2font import FT2Font  # takes half a second to import

    try:
        return frozenset(FT2Font(io.BytesIO(_font(None, 12).font_bytes) if file is None else file).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _dejavu() -> str:
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"


@functools.cache
def _system_fonts() -> list[str]:
    from matplotlib import font_manager

    return sorted(font_manager.findSystemFonts())


def enlargement(size: tuple[int, int], least: int = _SMALLEST) -> int:
    """Return the integer factor that enlarges an image of this width and height to `least` pixels; by default that of `caption`."""
    return max(1, -(-least // max(size)))


def enlarged(image: NDArray[np.uint8], least: int) -> Image.Image:
    """Return an image ([H, W, 3] uint8, RGB) whose longer side has at least `least` pixels, enlarged by an integer without smoothing."""
    picture = Image.fromarray(image)
    factor = enlargement(picture.size, least)
    return picture if factor == 1 else picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def text_size(size: tuple[int, int]) -> int:
    """Return a text height in pixels that is readable when the whole image of the given width and height is viewed."""
    return max(12, max(size) // 36, size[0] // 28)


def caption(image: NDArray[np.uint8], lines: list[str]) -> Image.Image:
    """Return an image ([H, W, 3] uint8, RGB) with lines of text below it. Small images are enlarged without smoothing."""
    picture = enlarged(image, _SMALLEST)
    size = max(12, picture.width // 28)
    drawn = [lettering(line, size) for line in lines]
    width = max([picture.width, *(int(font.getlength(line)) + size for line, font in drawn)])
    sheet = Image.new("RGB", (width, picture.height + (len(lines) * 3 + 1) * size // 2), _PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, (line, font) in enumerate(drawn):
        draw.text((size // 2, picture.height + size // 2 + row * size * 3 // 2), line, fill=_INK, font=font)
    return sheet
