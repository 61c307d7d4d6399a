"""The built-in dataset `demo:scenes`: handwritten digits placed at known positions in larger images, available offline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import InputError, UnknownNameError
from zoo.tasks.detection.data.targets import Target, keep_classes
from zoo.tasks.detection.datasets import SCHEMES

SIZE_HW = (128, 160)
_PICTURES = {"train": 600, "test": 100}
_DIGIT_SIZES = (24, 56)  # minimum and maximum side in pixels of the square to which a scan is enlarged
_MOST = 5  # maximum number of digits per image
_TRIES = 20  # maximum number of attempts to find a free place for a digit; if all fail, the digit is skipped
_TEST_EVERY = 5  # every fifth scan is for testing, the others for training
_INK = 0.2  # minimum ink, 0–1, of the pixels that determine the box of a digit


@dataclass(frozen=True)
class Placed:
    """A digit in a scene."""

    label: int  # the digit, 0–9
    ink: NDArray[np.float32]  # ink of the digit, [H, W] float32, 0–1, cropped to its box
    left: int  # distance from the left side of the image in pixels
    top: int  # distance from the top of the image in pixels

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Box of the digit, xyxy in pixels."""
        height, width = self.ink.shape
        return self.left, self.top, self.left + width, self.top + height

    def touches(self, other: Placed) -> bool:
        """Return whether the boxes of two digits overlap."""
        one, two = self.box, other.box
        return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def open_demo(ref: DataRef, on_error: OnError) -> Dataset:
    """Open generated scenes of 128 × 160 pixels: `split=train` (600 images), `split=test` (100 images), or both by default.

    The digits are scikit-learn's 1,797 scans (Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", CC BY 4.0);
    training and test scenes have no scan in common. A scene has up to five digits, and some have none. Boxes are tight around the ink and
    don't overlap. Options: `n=` (number of images per split) and `seed=` (default: 0). The same options always generate the same images,
    and the content of an image doesn't depend on `n`.
    """
    if ref.path != "scenes":
        raise UnknownNameError("demo data of detection", ref.path, ["scenes"])
    if ref.split not in (None, *_PICTURES):
        raise InputError(f"data {ref.text!r}: split is {ref.split!r}; expected train or test")
    seed = _number(ref, "seed", 0, 0)
    records = [
        _record(seed, split, index)
        for split, pictures in _PICTURES.items()
        if ref.split in (None, split)
        for index in range(_number(ref, "n", pictures, 1))
    ]
    return finish(ref, records, [str(digit) for digit in range(10)], [], on_error, keep_classes)


def _number(ref: DataRef, name: str, default: int, least: int) -> int:
    text = ref.options.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"data {ref.text!r}: {name} is {text!r}; expected a whole number, {least} or more")
    return int(text)


def _record(seed: int, split: str, index: int) -> Record:
    # a separate random stream per image, so that an image depends on nothing else
    stream = (seed, list(_PICTURES).index(split), index)
    placed = _place(np.random.default_rng(stream), split)
    return Record(f"scene-{split}-{index:04d}", partial(draw, placed, stream), _target(placed))


@cache
def _scans(split: str) -> list[tuple[NDArray[np.float32], int]]:
    """Return the scans of a split, each as its ink ([8, 8] float32, 0–1) and its digit."""
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    scans = zip((digits.images / 16).astype(np.float32), digits.target.tolist(), strict=True)
    return [pair for index, pair in enumerate(scans) if (split == "test") == (index % _TEST_EVERY == 0)]


def _place(random: np.random.Generator, split: str) -> list[Placed]:
    scans, placed = _scans(split), list[Placed]()
    for _ in range(int(random.integers(0, _MOST + 1))):
        scan, label = scans[int(random.integers(len(scans)))]
        ink = _enlarge(scan, int(random.integers(*_DIGIT_SIZES, endpoint=True)))
        for _ in range(_TRIES):
            top, left = (int(random.integers(0, side - extent + 1)) for side, extent in zip(SIZE_HW, ink.shape, strict=True))
            candidate = Placed(label, ink, left, top)
            if not any(candidate.touches(other) for other in placed):
                placed.append(candidate)
                break
    return placed


def _enlarge(scan: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resize a scan to a square of `size` pixels and crop it to its ink."""
    large = np.clip(cv2.resize(scan, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)
    rows, columns = (np.flatnonzero((large >= _INK).any(axis)) for axis in (1, 0))
    return large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _target(placed: list[Placed]) -> Target:
    boxes = np.array([digit.box for digit in placed], np.float32).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": np.array([digit.label for digit in placed], np.int64),
        "iscrowd": np.zeros(len(placed), np.bool_),
        "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
    }


def draw(placed: list[Placed], stream: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw digits on a textured background and return the image, [128, 160, 3] uint8, RGB.

    `stream` identifies the image; background and colours are seeded with it.
    """
    random = np.random.default_rng([*stream, 1])
    dark = bool(random.integers(2))
    picture = _background(random, dark)
    for digit in placed:
        colour = random.uniform(170, 255, 3) if dark else random.uniform(0, 85, 3)
        left, top, right, bottom = digit.box
        alpha = digit.ink[..., None]
        picture[top:bottom, left:right] = (1 - alpha) * picture[top:bottom, left:right] + alpha * colour
    noisy = picture + random.normal(0, 4, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _background(random: np.random.Generator, dark: bool) -> NDArray[np.float64]:
    """Return a dark or light background with clouds of two sizes, [H, W, 3]."""
    height, width = SIZE_HW
    base = random.uniform(20, 90, 3) if dark else random.uniform(165, 235, 3)
    picture = np.tile(base, (height, width, 1))
    for cells, strength in ((4, 18.0), (20, 8.0)):
        clouds = random.normal(0, strength, (cells, cells, 3))
        picture += cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture


SCHEMES.add("demo", Scheme("demo", open_demo, options=("n", "seed")))
