"""Dataset `demo:faces` – faces drawn by a program. It is available offline and contains no photographs of real people."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import InputError, UnknownNameError
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.datasets.demo.drawing import Person, draw

_TEST_EVERY = 5  # every fifth person is in the test split, the others are in the training split
_OPTIONS = {"people": (100, 1), "per_person": (10, 1), "seed": (0, 0)}  # default and minimum of each option


def open_demo(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset of drawn faces of invented people, 112 × 112 pixels.

    A person is a set of proportions and colours. The images of a person differ in pose, expression, clothes, lighting and noise. The
    options are `people=` (default 100), `per_person=` (images per person, default 10) and `seed=` (default 0). `split=train` selects four
    fifths of the people, `split=test` the others. The same options always produce the same images, and a person's appearance doesn't
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


SCHEMES.add("demo", Scheme("demo", open_demo, options=tuple(_OPTIONS)))
