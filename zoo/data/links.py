"""Symbolic links in datasets: those that leave the dataset folder are followed only if the user owns them."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.errors import DataError

RULES = ("own", "follow", "refuse")


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder or inside it; both are absolute and without links."""
    try:
        return os.path.commonpath([folder, path]) == folder
    except ValueError:  # they are on different drives
        return False


class Links:
    """Decides which symbolic links of a dataset are followed.

    Links within the dataset folder always are. A link that leaves it is followed if this user owns it ("own"), always ("follow"), or never
    ("refuse").
    """

    def __init__(self, root: Path, rule: str = "own") -> None:
        self._root, self._rule = root, rule
        self._real = os.path.realpath(root)
        self._known: dict[str, str] = {}

    def holds(self, real: str) -> bool:
        """Return whether a path without links is the dataset folder or is inside it."""
        return is_within(real, self._real)

    def refusal(self, inside: str, *, annotation: bool = False) -> str:
        """Return why a link on a path, relative to the dataset folder, isn't followed; "" if all are.

        A link to an `annotation` file isn't, because error messages quote annotations.
        """
        *folders, name = Path(inside).parts or (".",)
        place = os.fspath(self._root)
        for folder in folders:
            place = os.path.join(place, folder)
            if place not in self._known:
                self._known[place] = self.refusal_of(place)
            if self._known[place]:
                return self._known[place]
        return self.refusal_of(os.path.join(place, name), annotation=annotation)

    def refusal_of(self, place: str, *, annotation: bool = False) -> str:
        """Return why a path isn't followed if it is a link; "" if it is followed or isn't a link."""
        if not os.path.islink(place) or self.holds(os.path.realpath(place)):
            return ""
        user = getattr(os, "geteuid", None)  # links have no owner on Windows
        owned = user is None or os.lstat(place).st_uid == user()
        if not annotation and (self._rule == "follow" or (self._rule == "own" and owned)):
            return ""
        why = "links=refuse" if self._rule == "refuse" else "it belongs to another user; follow it with ?links=follow"
        if annotation:
            why = "annotations must be inside it"
        return f"is outside the dataset folder {self._root}: {os.path.relpath(place, self._root)!r} is a link that leaves it, and {why}"


def check_list(file: Path, folder: Path) -> None:
    """Raise a `DataError` if a list in a dataset folder is a link that leaves the folder, because lines become names or are quoted."""
    if reason := Links(folder).refusal(os.path.relpath(file, folder), annotation=True):
        raise DataError(f"{file} {reason}")


def check_main(file: Path, folder: Path, rule: str) -> None:
    """Raise a `DataError` if a dataset's main file, which was found in its folder, is or is behind a link that isn't followed.

    These are COCO's JSON files, tables, and files that describe a YOLO dataset. Links to them are followed as those to images, since such
    a file is only read if it has the expected form, and the paths in it must stay in the dataset folder all the same.
    """
    if reason := Links(folder, rule).refusal(os.path.relpath(file, folder)):
        raise DataError(f"{file} {reason}, or name this file instead of its folder")
