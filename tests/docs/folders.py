"""The folders that the pages name: drawn photos, a trained model, or links to the real data next to the repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.products import write_products

_REAL = {"cells": "bccd", "people": "orl/test", "photos": "photos", "portraits": "portraits"}  # folders of ../shared/data


def _product(folder: Path) -> None:
    write_products(folder)


def _new(folder: Path) -> None:
    photos = write_products(folder.with_name("drawn for new"), 3, first=100)
    folder.mkdir()
    for photo in sorted(photos.glob("*/*.jpg")):
        photo.rename(folder / f"{photo.parent.name}-{photo.name}")


def _digits(folder: Path) -> None:
    """Train the model of the quick start, shorter."""
    import zoo

    model = zoo.build("resnet20", classes=[str(digit) for digit in range(10)])
    recipe = zoo.recipe("classification", steps=60, flip=0.0, crop_scale=0.7)
    zoo.train(model, "demo:digits?split=train", recipe=recipe, out=folder)


_MADE: dict[str, Callable[[Path], None]] = {"product": _product, "new": _new, "runs/digits": _digits}
_KEPT: dict[str, Path] = {}  # folders that take long to make, by name, for the next page


def put(name: str, place: Path, real: Path) -> str:
    """Put a folder into the place where a page's blocks run, unless it is there.

    Args:
        name: name of the folder.
        place: working folder of the page.
        real: folder of the real data.

    Returns:
        Reason why the folder can't be created; "" if it exists.

    Raises:
        KeyError: no folder has this name.
    """
    folder = place / name
    if folder.exists():
        return ""
    if name in _KEPT:
        shutil.copytree(_KEPT[name], folder)
        return ""
    if name in _MADE:
        _MADE[name](folder)
        _KEPT[name] = folder
        return ""
    source = real / _REAL[name]
    if not source.is_dir():
        return f"{name} needs the real data in {source}, which doesn't exist"
    folder.symlink_to(source, target_is_directory=True)
    return ""
