"""The photos that benchmarks work on."""

from __future__ import annotations

from pathlib import Path

from zoo.data.folders import picture_files
from zoo.errors import DataError, InputError


def photo_files(folder: Path, remedy: str = "give one with photos as --photos") -> list[Path]:
    """Return the pictures of a folder.

    Args:
        folder: where they are.
        remedy: what to do where it isn't there.

    Raises:
        InputError: there is no such folder.
        DataError: there are none in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; {remedy}")
    files = picture_files(folder)
    if not files:
        raise DataError(f"{folder} holds no pictures")
    return files
