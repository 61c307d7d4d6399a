"""Folders of pictures: which files count as pictures, and which folders as splits."""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from pathlib import Path

from zoo import images
from zoo.data_ref import DataRef
from zoo.errors import InputError


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures below a folder by name, in a stable order; files of other kinds don't count as pictures."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_picture_name(path.name))


def is_picture_name(name: str) -> bool:
    """Tell whether a file name ends like a picture; hidden files never do."""
    return not name.startswith(".") and any(fnmatch.fnmatch(name.lower(), f"*{suffix}") for suffix in images.SUFFIXES)


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders directly inside a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def split_folder(ref: DataRef, root: Path) -> Path:
    """Return the folder of the split that was asked for, for formats that keep splits as folders.

    Raises:
        InputError: `split=` names no folder there, or there are splits and none was named.
    """
    names = [folder.name for folder in subfolders(root)]
    splits = [name for name in names if name.lower() in SPLITS]
    if ref.split is not None:
        if ref.split not in names:
            known = ", ".join(splits or names[:8]) or "none"
            raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {root}; its folders are: {known}")
        return root / ref.split
    if names and len(splits) == len(names):
        raise InputError(f"data {ref.text!r} has the splits {', '.join(splits)}; say which with ?split={splits[0]}")
    return root


def split_folders(ref: DataRef, root: Path) -> list[Path]:
    """Return the folders of the splits that were asked for, one or several: `split=train,test`.

    Raises:
        InputError: as `split_folder`, or a split that is named twice.
    """
    if ref.split is None or "," not in ref.split:
        return [split_folder(ref, root)]
    names = [name.strip() for name in ref.split.split(",")]
    if len(set(names)) < len(names):
        raise InputError(f"data {ref.text!r}: split names one twice; expected different ones, as in split=train,test")
    return [split_folder(replace(ref, split=name), root) for name in names]
