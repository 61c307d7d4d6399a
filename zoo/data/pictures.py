"""Images that tables don't name by their paths.

The names are without suffix, in another case, paths on another computer, or relative to a subfolder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from zoo.data.folders import PictureRoot, is_system_folder
from zoo.data.formats import DataRef
from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.errors import Flaw
from zoo.images import decoding
from zoo.system.wording import counted

_ELSEWHERE = re.compile(r"[\\/]|file:|[A-Za-z]:|.*\\")  # absolute paths, Windows paths and addresses


class PictureFinder:
    """Finds the images of a table by their paths, names or ids."""

    def __init__(self, root: PictureRoot, base: Path, *, subfolders: bool) -> None:
        """Store the dataset folder and the folder that paths are relative to.

        With `subfolders`, names that the latter lacks are searched for in its subfolders.
        """
        self._root, self._base, self._deep = root, base, subfolders
        self._names: dict[str, dict[str, list[str]]] = {}  # names of the images by stem, of each folder
        self._subfolders: list[str] | None = None
        self._found: dict[str, str] = {}  # key by name, of images found in another way than by their paths

    @classmethod
    def of(cls, ref: DataRef, table: Path) -> PictureFinder:
        """Return the finder for a table, whose paths are relative to the option `root=`, or else to the folder of the table."""
        given, path = ref.root_folder(), Path(ref.path).expanduser()
        root = PictureRoot(given or (path if path.is_dir() else table.parent), ref.links)
        return cls(root, given or table.parent, subfolders=given is None)

    def find(self, text: str) -> tuple[str, Path]:
        """Return the key and the path of an image, as `PictureRoot.find` does; raise a `Flaw` if there is none, or several are possible."""
        try:
            return self._root.find(text, self._base)
        except Flaw as flaw:
            foreign = _ELSEWHERE.match(text) is not None
            if flaw.kind != "no-picture" and not foreign:
                raise
            place = self._search(text, tails(text) if foreign else [text])
            if place is None:
                raise
        key, file = self._root.find(place, self._base)
        self._found[text] = key
        return key, file

    @property
    def notes(self) -> list[str]:
        """Note on images that were not found by their paths; empty if there are none."""
        if not self._found:
            return []
        text, key = next(iter(self._found.items()))
        return [f"{counted(len(self._found), 'image')} found under another path than in the table, such as {text!r} as {key!r}"]

    def _search(self, text: str, ends: list[str]) -> str | None:
        for end in ends:
            if (place := self._in("", end)) is not None:
                return place
        for end in ends if self._deep else []:
            places = [place for folder in self._folders() if (place := self._in(folder, end)) is not None]
            if len(places) > 1:
                raise Flaw(f"{text!r} is in several folders: {', '.join(places[:3])}; choose one with ?root=", "no-picture")
            if places:
                return places[0]
        return None

    def _in(self, folder: str, end: str) -> str | None:
        """Return the path of an image in a folder, relative to the base; None if it isn't there."""
        parent, name = os.path.split(os.path.join(folder, end))
        path = self._root.disk.find(os.path.join(self._base, parent, name))
        if os.path.isfile(path):
            return os.path.join(parent, name)
        spelt = self._root.disk.in_any_case(self._base, os.path.join(parent, name).replace(os.sep, "/"))
        if spelt and os.path.isfile(self._base / spelt):
            return spelt
        found = self._listing(parent).get(nfc(name), [])
        if len(found) > 1:
            raise Flaw(f"{name!r} could be {' or '.join(found[:3])}; write the suffix in the table", "no-picture")
        return os.path.join(parent, found[0]) if found else None

    def _listing(self, parent: str) -> dict[str, list[str]]:
        if parent not in self._names:
            names = self._names[parent] = {}
            for name in sorted(_names_in(self._root.disk.find(self._base / parent))):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in decoding.SUFFIXES:
                    names.setdefault(nfc(stem), []).append(name)
        return self._names[parent]

    def _folders(self) -> list[str]:
        if self._subfolders is None:
            names = sorted(name for name in _names_in(self._base) if not is_system_folder(name))
            self._subfolders = [name for name in names if os.path.isdir(self._base / name)]
        return self._subfolders


def _names_in(folder: Path | str) -> Iterator[str]:
    try:
        yield from os.listdir(folder)
    except (OSError, ValueError):  # it isn't a folder, or its name is too long or contains a null character
        return
