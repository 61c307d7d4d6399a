"""The choice of the bands that are read as red, green and blue, or as grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError

# advice for an image with other bands than grey, RGB and alpha
CHOICE = "Choose three as red, green and blue, or one as grey, with ?bands=0,1,2 behind the path, or bands=(0, 1, 2) in zoo.read_image"
_EXPECTED = "expected one or three numbers from 0, as in 0,1,2"


def parse(text: str) -> tuple[int, ...]:
    """Return the bands in a string such as "0,1,2"; raise an `InputError` unless they are one or three numbers."""
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() for number in numbers) or len(numbers) not in (1, 3):
        raise InputError(f"bands is {text!r}; {_EXPECTED}")
    return tuple(map(int, numbers))


def check(bands: tuple[int, ...]) -> None:
    """Raise an `InputError` unless bands are one or three numbers from 0."""
    if len(bands) not in (1, 3) or min(bands) < 0:
        raise InputError(f"bands is {bands}; {_EXPECTED}")


def choose(image: NDArray[np.uint8], bands: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image [H, W, 3] with these bands of it; raise a Flaw if it doesn't have them."""
    if max(bands) > 2:
        raise Flaw(f"has the bands 0 to 2, but band {max(bands)} was chosen", "unreadable")
    return np.repeat(image[..., list(bands)], 3 // len(bands), axis=2)
