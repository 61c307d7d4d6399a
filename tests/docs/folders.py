"""The folders that the pages name: drawn photos, built-in data, or links to the real data next to the repository."""

from __future__ import annotations

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


_DRAWN: dict[str, Callable[[Path], None]] = {"product": _product, "new": _new}


def put(name: str, place: Path, real: Path) -> str:
    """Put a folder into the place where a page's blocks run, unless it is there.

    Args:
        name: name of the folder.
        place: working folder of the page.
        real: folder of the real data.

    Returns:
        Why the folder can't be there; "" if it is.

    Raises:
        KeyError: no folder has this name.
    """
    folder = place / name
    if folder.exists():
        return ""
    if name in _DRAWN:
        _DRAWN[name](folder)
        return ""
    source = real / _REAL[name]
    if not source.is_dir():
        return f"{name} needs the real data in {source}, which doesn't exist"
    folder.symlink_to(source, target_is_directory=True)
    return ""
