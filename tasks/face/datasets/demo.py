"""Dataset `demo:faces` – faces of invented people, drawn with OpenCV. It is available offline and contains no photographs of real people.

A person is a set of proportions and colours; pose, expression, clothes, lighting and noise vary between images. Scores on drawn faces show
that the software works, but not how well it works on real faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import InputError, UnknownNameError
from zoo.tasks.face.datasets import SCHEMES

_TEST_EVERY = 5  # every fifth person is in the test split, the others are in the training split
_OPTIONS = {"people": (100, 1), "per_person": (10, 1), "seed": (0, 0)}  # default and minimum of each option
_SIZE = 112  # side of an image in pixels, as in ArcFace's crops
_SCALE = 3  # supersampling factor
_SUBPIXEL_BITS = 4
Floats = NDArray[np.float64]

_SKIN = np.array([[250, 221, 196], [232, 190, 152], [205, 150, 108], [150, 98, 64], [96, 62, 44]], float)  # RGB, light to dark
_HAIR = np.array([[24, 20, 20], [66, 42, 28], [122, 78, 44], [208, 168, 98], [150, 60, 32], [176, 174, 172]], float)
_IRIS = np.array([[72, 44, 24], [92, 110, 60], [70, 110, 160], [110, 100, 90]], float)


def open_demo(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset of drawn faces of invented people, 112 × 112 pixels.

    The options are `people=` (default 100), `per_person=` (images per person, default 10) and `seed=` (default 0). `split=train` selects
    four fifths of the people, `split=test` the others. The same options always produce the same images, and a person's appearance doesn't
    depend on the number of people.
    """
    if ref.path != "faces":
        raise UnknownNameError("demo data of face", ref.path, ["faces"])
    if ref.split not in (None, "train", "test"):
        raise InputError(f"data {ref.text!r}: split is {ref.split!r}; expected train or test")
    people, per_person, seed = (_number(ref, name) for name in _OPTIONS)
    chosen = [person for person in range(people) if ref.split is None or (ref.split == "test") == (person % _TEST_EVERY == 0)]
    records = [
        Record(f"person-{person:04d}/{picture:03d}", partial(_draw, seed, person, picture), label)
        for label, person in enumerate(chosen)
        for picture in range(per_person)
    ]
    return finish(ref, records, [f"person-{person:04d}" for person in chosen], [], on_error)


def _number(ref: DataRef, name: str) -> int:
    default, least = _OPTIONS[name]
    text = ref.options.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"data {ref.text!r}: {name} is {text!r}; expected a whole number, {least} or more")
    return int(text)


def _draw(seed: int, person: int, picture: int) -> NDArray[np.uint8]:
    # separate random streams for each person and each image, so that an image doesn't depend on other images
    who = Person.draw_lot(np.random.default_rng([seed, person]))
    return draw(who, np.random.default_rng([seed, person, 1 + picture]))


def _between(low: float, high: float) -> Any:
    """Return a dataclass field whose value is drawn uniformly from a range."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Person:
    """Features shared by all images of a person. Lengths are in units of half the head's height; colours are RGB, 0–255."""

    skin: Floats
    hair: Floats
    iris: Floats
    bald: bool
    beard: float  # opacity of the beard; 0 for no beard
    moustache: bool
    glasses: str  # shape of the glasses, "round" or "square"; "" for none
    # position of a mole relative to the centre of the head: x in half widths of the head, y downwards; None for no mole
    mole_xy: tuple[float, float] | None
    width: float = _between(0.64, 0.86)  # half the width of the head
    jaw: float = _between(1.7, 2.9)  # squareness of the lower half of the head
    eye_spacing: float = _between(0.25, 0.38)  # horizontal distance from the centre of the head to each eye
    eye_height: float = _between(0.02, 0.18)  # height of the eyes above the centre of the head
    eye_size: float = _between(0.10, 0.165)  # half the width of an eye
    eye_tilt: float = _between(-0.2, 0.25)  # tilt of the outer corners of the eyes in radians
    brow_gap: float = _between(0.13, 0.24)
    brow_weight: float = _between(0.018, 0.06)  # half the thickness of a brow
    brow_tilt: float = _between(-0.25, 0.3)  # tilt of the brows in radians
    nose_length: float = _between(0.30, 0.52)  # distance from the line of the eyes to the tip of the nose
    nose_width: float = _between(0.08, 0.18)  # half the width of the nose
    mouth_height: float = _between(0.50, 0.64)  # depth of the mouth below the centre of the head
    mouth_width: float = _between(0.17, 0.34)  # half the width of the mouth
    lips: float = _between(0.03, 0.085)
    hairline: float = _between(0.42, 0.72)  # height of the hairline above the centre of the head
    parting: float = _between(-1, 1)  # horizontal position of the hair parting, −1 to 1
    hair_length: float = _between(-0.5, 1.3)  # length of the hair below the centre of the head; below 0 for short hair

    @classmethod
    def draw_lot(cls, rng: np.random.Generator) -> Person:
        """Draw a random person."""
        wears_beard = rng.random() < 0.25
        return cls(
            skin=_mixture(_SKIN, rng),
            hair=_mixture(_HAIR, rng),
            iris=_mixture(_IRIS, rng),
            **{measure.name: rng.uniform(*measure.metadata["range"]) for measure in fields(cls) if measure.metadata},
            bald=bool(rng.random() < 0.12),
            beard=rng.uniform(0.45, 0.9) if wears_beard else 0.0,
            moustache=bool(rng.random() < (0.7 if wears_beard else 0.08)),
            glasses=str(rng.choice(["", "", "", "round", "square"])),
            mole_xy=(rng.uniform(-0.45, 0.45), rng.uniform(0.1, 0.75)) if rng.random() < 0.3 else None,
        )


def _mixture(palette: Floats, rng: np.random.Generator) -> Floats:
    """Return a random mixture of two neighbouring colours of a palette, with some noise."""
    first = int(rng.integers(len(palette) - 1))
    part = rng.random()
    colour: Floats = np.clip(palette[first] * (1 - part) + palette[first + 1] * part + rng.normal(0, 6, 3), 8, 255)
    return colour


class _Canvas:
    """Image on which shapes on the front of the head are drawn, projected in one random pose."""

    def __init__(self, person: Person, rng: np.random.Generator) -> None:
        self.pixels = np.empty((_SIZE * _SCALE, _SIZE * _SCALE, 3), np.uint8)
        self._axes = np.array([person.width, 1.0])
        self._yaw, self._pitch = rng.uniform(-0.35, 0.35), rng.uniform(-0.12, 0.12)
        roll, zoom = rng.normal(0, 0.07), rng.uniform(0.34, 0.40) * _SIZE * _SCALE
        self._roll = zoom * np.array([[np.cos(roll), np.sin(roll)], [np.sin(roll), -np.cos(roll)]])
        self._centre = _SIZE * _SCALE * (np.array([0.5, 0.5]) + rng.uniform(-0.04, 0.04, 2))

    def fill(self, points: ArrayLike, colour: Floats, depth: bool = True, opacity: float = 1.0) -> None:
        """Fill a polygon [N, 2] xy, with x to the right and y upwards from the centre of the head. See `_project` for `depth`."""
        target = self.pixels if opacity == 1 else self.pixels.copy()
        cv2.fillPoly(target, [self._project(points, depth)], colour.tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)
        if opacity != 1:
            cv2.addWeighted(target, opacity, self.pixels, 1 - opacity, 0, dst=self.pixels)

    def line(self, points: ArrayLike, colour: Floats, width: float, closed: bool = False) -> None:
        """Draw a line through points [N, 2] xy. The width is in units of half the head's height."""
        thickness = max(1, round(width * float(np.abs(self._roll).max())))
        cv2.polylines(self.pixels, [self._project(points, True)], closed, colour.tolist(), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)

    def _project(self, points: ArrayLike, depth: bool) -> NDArray[np.int32]:
        """Project points [N, 2] to pixels. They lie on the head (an ellipsoid) if `depth`, otherwise in the plane of its outline."""
        xy = np.asarray(points, float)
        if depth:  # turning a round head sideways doesn't change its outline
            z = 0.75 * np.sqrt(np.clip(1 - ((xy / self._axes) ** 2).sum(1), 0, None))
            xy = np.stack([xy[:, 0] * np.cos(self._yaw) + z * np.sin(self._yaw), xy[:, 1] + z * np.sin(self._pitch)], axis=1)
        pixels = xy @ self._roll.T + self._centre
        return np.asarray(np.round(pixels * 2**_SUBPIXEL_BITS), np.int32)


def _ellipse(x: float, y: float, half_width: float, half_height: float, tilt: float = 0.0) -> Floats:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.stack([half_width * np.cos(angles), half_height * np.sin(angles)], axis=1)
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return np.asarray(points @ turn + (x, y))


def _head(person: Person, grow: float = 1.0) -> Floats:
    """Return the outline of the head [N, 2]: an ellipse in the upper half, and a superellipse (exponent `jaw`) in the lower half."""
    angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    power = np.where(np.sin(angles) < 0, 2 / person.jaw, 1.0)
    x = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power
    y = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** np.where(np.sin(angles) < 0, 0.5 + power / 2, 1.0)
    return np.stack([person.width * grow * x, grow * y], axis=1)


def draw(person: Person, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an image of a person, [112, 112, 3] uint8, RGB. `rng` determines pose, expression, clothes, background, lighting and noise."""
    canvas = _Canvas(person, rng)
    _background_and_clothes(canvas, person, rng)
    _hair_behind(canvas, person)
    for side in (-1, 1):
        canvas.fill(_ellipse(side * person.width, -0.02, 0.09, 0.17), person.skin * 0.88, depth=False)
    canvas.fill(_head(person), person.skin, depth=False)
    _beard(canvas, person)
    openness = rng.uniform(0.35, 0.6)
    gaze = rng.uniform(-0.25, 0.25)
    for side in (-1, 1):
        _eye(canvas, person, side, openness, gaze)
    _nose(canvas, person)
    _mouth(canvas, person, smile=rng.uniform(-0.05, 0.1), gap=max(0.0, rng.uniform(-0.06, 0.06)))
    _hair_on_top(canvas, person)
    if person.mole_xy is not None:
        x, y = person.mole_xy
        canvas.fill(_ellipse(x * person.width, -y, 0.03, 0.03), person.skin * 0.4)
    if person.glasses:
        _glasses(canvas, person)
    return _photograph(canvas.pixels, rng)


def _background_and_clothes(canvas: _Canvas, person: Person, rng: np.random.Generator) -> None:
    canvas.pixels[:] = rng.uniform(60, 200) + rng.uniform(-25, 25, 3)
    clothes = rng.uniform(40, 200) + rng.uniform(-30, 30, 3)
    canvas.fill(_ellipse(0, -1.85, 1.35, 0.85), clothes, depth=False)
    canvas.fill([(-0.32, -0.6), (0.32, -0.6), (0.36, -1.2), (0, -1.4), (-0.36, -1.2)], person.skin * 0.8, depth=False)


def _hair_behind(canvas: _Canvas, person: Person) -> None:
    if person.bald:
        return
    half = person.width * 1.17
    canvas.fill(_ellipse(0, 0.12, half, 1.02), person.hair * 0.8, depth=False)
    if person.hair_length > 0:
        low = -person.hair_length
        canvas.fill([(-half, 0.15), (half, 0.15), (half * 1.06, low), (-half * 1.06, low)], person.hair * 0.8, depth=False)


def _hair_on_top(canvas: _Canvas, person: Person) -> None:
    """Draw the hair between the outline of the head and a hairline that is highest at the parting."""
    if person.bald:
        return
    x = np.linspace(-person.width * 1.04, person.width * 1.04, 30)
    outline = np.sqrt(np.clip(1 - (x / (person.width * 1.06)) ** 2, 0, None)) * 1.06
    away = np.abs(x / person.width - person.parting * 0.7)
    hairline = np.minimum(person.hairline + 0.16 - 0.28 * away**1.3, outline)
    canvas.fill(np.concatenate([np.stack([x, outline], 1), np.stack([x, hairline], 1)[::-1]]), person.hair, depth=False)


def _beard(canvas: _Canvas, person: Person) -> None:
    if person.beard:
        outline = _head(person, 0.99)
        jaw = outline[outline[:, 1] < -0.12]
        inner = _ellipse(0, -0.1, person.width * 0.72, 0.36)
        canvas.fill(np.concatenate([jaw, inner[inner[:, 1] < -0.12][::-1]]), person.hair, depth=False, opacity=person.beard)
    if person.moustache:
        y = (person.eye_height - person.nose_length - person.mouth_height) / 2
        canvas.fill(_ellipse(0, y, person.mouth_width * 0.95, 0.06), person.hair)


def _eye(canvas: _Canvas, person: Person, side: int, openness: float, gaze: float) -> None:
    x, y, size, tilt = side * person.eye_spacing, person.eye_height, person.eye_size, -side * person.eye_tilt
    canvas.fill(_ellipse(x, y, size * 1.15, size * (openness + 0.17), tilt), person.skin * 0.72)
    canvas.fill(_ellipse(x, y, size, size * openness, tilt), np.array([244.0, 242, 238]))
    radius = size * min(openness, 0.52)
    canvas.fill(_ellipse(x + gaze * size, y, radius, radius), person.iris)
    canvas.fill(_ellipse(x + gaze * size, y, radius / 2, radius / 2), np.array([12.0, 12, 14]))
    brow = _ellipse(x, y + person.brow_gap, size * 1.35, person.brow_weight, -side * person.brow_tilt)
    canvas.fill(brow, person.hair * 0.75)


def _nose(canvas: _Canvas, person: Person) -> None:
    tip, half = person.eye_height - person.nose_length, person.nose_width
    canvas.fill([(0, person.eye_height), (half * 0.5, tip + 0.1), (half, tip), (0, tip - 0.03)], person.skin * 0.86)
    canvas.fill(_ellipse(0, tip, half, 0.055), person.skin * 0.9)
    for side in (-1, 1):
        canvas.fill(_ellipse(side * half * 0.55, tip - 0.03, half * 0.25, 0.022), person.skin * 0.45)


def _mouth(canvas: _Canvas, person: Person, smile: float, gap: float) -> None:
    x = np.linspace(-1, 1, 15)
    middle = -person.mouth_height + smile * x**2
    bow = (1 - x**2) * person.lips
    colour = person.skin * (0.82, 0.5, 0.5) + (20, 0, 6)
    outer = np.concatenate([np.stack([x, middle + bow * 0.8 + gap], 1), np.stack([x, middle - bow - gap], 1)[::-1]])
    canvas.fill(outer * (person.mouth_width, 1), colour)
    inner = np.concatenate([np.stack([x, middle + gap * (1 - x**2) + 0.008], 1), np.stack([x, middle - gap * (1 - x**2) - 0.008], 1)[::-1]])
    canvas.fill(inner * (person.mouth_width * 0.9, 1), colour * 0.4)


def _glasses(canvas: _Canvas, person: Person) -> None:
    frame = np.array([30.0, 26, 28])
    half = person.eye_spacing * 0.78
    for side in (-1, 1):
        x, y = side * person.eye_spacing, person.eye_height
        square: Sequence[tuple[float, float]] = [(x - half, y + 0.13), (x + half, y + 0.13), (x + half, y - 0.13), (x - half, y - 0.13)]
        canvas.line(square if person.glasses == "square" else _ellipse(x, y, half, half * 0.85), frame, 0.03, closed=True)
        canvas.line([(side * (person.eye_spacing + half), y), (side * person.width, y + 0.05)], frame, 0.03)
    canvas.line([(-person.eye_spacing + half, person.eye_height), (person.eye_spacing - half, person.eye_height)], frame, 0.03)


def _photograph(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Downscale an image to its final size, and apply directional lighting, a colour cast, blur and noise."""
    small = cv2.resize(pixels, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA).astype(np.float64)
    y, x = np.mgrid[-1 : 1 : _SIZE * 1j, -1 : 1 : _SIZE * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.7, 1.15) + rng.uniform(0, 0.35) * (np.cos(angle) * x + np.sin(angle) * y)
    lit = small * light[:, :, None] * rng.uniform(0.93, 1.07, 3)
    blurred = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 1.0))
    noisy = blurred + rng.normal(0, rng.uniform(2, 10), lit.shape)
    return np.asarray(np.clip(noisy, 0, 255).round(), np.uint8)


SCHEMES.add("demo", Scheme("demo", open_demo, options=tuple(_OPTIONS)))
