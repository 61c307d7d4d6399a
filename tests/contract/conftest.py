"""The fixture of galleries in every kind of store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import zoo
from tests.contract.galleries import DLIB, Open
from tests.postgres import Server
from zoo.tasks.face.gallery import Embedder, Gallery

PLACES = ("file", "postgres")
_NUMBERS = itertools.count()


@pytest.fixture(params=PLACES)
def opened(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Open]:
    """Return a function that opens the same gallery on every call."""
    if request.param == "file":
        place = str(tmp_path / "faces.gallery")
    else:
        server: Server = request.getfixturevalue("postgres")
        place = server.make(f"contract{next(_NUMBERS)}")
    galleries = []

    def open_one(model: Embedder | None = DLIB) -> Gallery:
        galleries.append(zoo.Gallery(place, model))
        return galleries[-1]

    yield open_one
    for gallery in galleries:
        gallery.close()
