"""Folders of images: recognition of image files and splits, and resolution of file names in annotations."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from zoo.data.formats import DataRef
from zoo.errors import Flaw, InputError
from zoo.images import decoding


def picture_files(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted by path; other files are ignored."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_picture_name(path.name))


def is_picture_name(name: str) -> bool:
    """Return whether a file name has an image suffix and isn't that of a hidden file."""
    return not name.startswith(".") and name.lower().endswith(decoding.SUFFIXES)


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders directly inside a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def recognise_folders(path: Path) -> str | None:
    """Return why a folder is recognised as a folder of image folders; None if it isn't."""
    folders = subfolders(path)
    return f"it contains {len(folders)} folders with images" if any(picture_files(folder) for folder in folders[:3]) else None


SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def split_folder(ref: DataRef, root: Path) -> Path:
    """Return the folder of the requested split, or `root` if there are no splits.

    An `InputError` is raised if the requested split doesn't exist, or all folders are splits and none was requested.
    """
    names = [folder.name for folder in subfolders(root)]
    splits = [name for name in names if name.lower() in SPLITS]
    if ref.split is not None:
        if ref.split not in names:
            known = ", ".join(splits or names[:8]) or "none"
            raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {root}; its folders are: {known}")
        return root / ref.split
    if names and len(splits) == len(names):
        raise InputError(f"data {ref.text!r} has the splits {', '.join(splits)}; choose one with ?split={splits[0]}")
    return root


def split_folders(ref: DataRef, root: Path) -> list[Path]:
    """Return the folders of all requested splits, as in `split=train,test`; see `split_folder`."""
    if ref.split is None or "," not in ref.split:
        return [split_folder(ref, root)]
    names = [name.strip() for name in ref.split.split(",")]
    if len(set(names)) < len(names):
        raise InputError(f"data {ref.text!r}: split lists a name twice; expected unique names, as in split=train,test")
    return [split_folder(replace(ref, split=name), root) for name in names]


class PictureRoot:
    """Resolver for file names in annotations, which only accepts files within the data's folder.

    Without this restriction, a malicious or careless annotation file could refer to any file on the machine through `../`, an absolute path
    or a symbolic link.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real = os.path.realpath(folder)
        self._real_parents: dict[str, str] = {}

    def find(self, text: str, base: Path | None = None) -> tuple[str, Path]:
        """Resolve a path in the annotations, which is relative to `base`, by default the data's folder.

        Absolute paths within the data's folder are valid too.

        Returns:
            The key, which is the path relative to the data's folder with `/` as separator, and the path of the file.

        Raises:
            Flaw: the path is empty, leads outside the folder, or isn't a file.
        """
        parent, name = os.path.split(os.path.join(base or self.folder, text))
        if not text or "\0" in text or name in ("", ".", ".."):
            raise Flaw(f"{text!r} isn't a file path")
        if parent not in self._real_parents:
            self._real_parents[parent] = os.path.realpath(parent)
        place = os.path.join(self._real_parents[parent], name)
        try:
            found = os.lstat(place)
            real = os.path.realpath(place) if stat.S_ISLNK(found.st_mode) else place
            self._check_inside(text, real)
            mode = os.stat(real).st_mode
        except OSError as error:
            self._check_inside(text, place)  # the message must not reveal whether a file outside the folder exists
            raise Flaw(f"{text!r} can't be found in {self.folder}: {error.strerror}", "no-picture") from None
        if not stat.S_ISREG(mode):
            raise Flaw(f"{text!r} isn't a file", "no-picture")
        key = os.path.relpath(place if self._holds(place) else real, self._real)
        return key.replace(os.sep, "/"), self.folder / key

    def holds(self, path: Path) -> bool:
        """Return whether a path, with symbolic links resolved, is the data's folder or lies within it."""
        return self._holds(os.path.realpath(path))

    def _holds(self, real: str) -> bool:
        return os.path.commonpath([self._real, real]) == self._real

    def _check_inside(self, text: str, real: str) -> None:
        if not self._holds(real):
            raise Flaw(f"{text!r} leaves the data's folder {self.folder}; images and annotations must lie inside it")
