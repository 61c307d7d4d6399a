"""Photos used as input by the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zoo.data.folders import picture_files
from zoo.errors import DataError, InputError


def photo_files(folder: Path, remedy: str = "pass a folder of photos as --photos") -> list[Path]:
    """Return the image files in a folder and its subfolders.

    Raises:
        InputError: `folder` is not a folder; the message ends with `remedy`.
        DataError: the folder contains no images.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; {remedy}")
    files = picture_files(folder)
    if not files:
        raise DataError(f"{folder} contains no images")
    return files


def link_files(files: Iterable[Path], folder: Path) -> Path:
    """Create a folder with numbered symbolic links to the files, in their order, and return the folder."""
    folder.mkdir(parents=True)
    for index, file in enumerate(files):
        (folder / f"{index:06d}{file.suffix}").symlink_to(file.resolve())
    return folder
