"""Paths on another computer in annotations: the file is found by the longest trailing part that exists in the dataset's folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from zoo.data.folders import PictureRoot
from zoo.data.names import nfc

_LONGEST = 4096  # characters of a path; no file system has longer ones


def tails(text: str) -> list[str]:
    r"""Return the trailing parts of a Windows or POSIX path, longest first, with slashes; none leads out of the folder it is joined to.

    Example:
        >>> tails("..\\media\\C:\\pets/1.jpg")
        ['pets/1.jpg', '1.jpg']
        >>> tails("pets/1.jpg")
        ['pets/1.jpg', '1.jpg']
    """
    if "\0" in text or len(text) > _LONGEST:
        return []
    parts = [part for part in re.split(r"[\\/]+", text.removeprefix("file://")) if part not in ("", ".")]
    start = max((place + 1 for place, part in enumerate(parts) if part == ".." or part.endswith(":")), default=0)
    return ["/".join(parts[place:]) for place in range(start, len(parts))]


class MovedFiles:
    """Finds files by trailing parts of their paths. The existing folders are cached, so that large datasets need few disk accesses.

    Links are followed as in `PictureRoot.file`, whose `Flaw` is raised.
    """

    def __init__(self, folders: Sequence[Path], root: PictureRoot) -> None:
        self._folders, self._root = folders, root
        self._exists: dict[str, bool] = {}

    def find(self, text: str) -> tuple[str, Path] | None:
        """Return the longest trailing part of a path that is a file in one of the folders, and the file; None if there is none.

        If no part exists as it is spelt, the longest one that exists in another case is returned, spelt as on disk.
        """
        ends = tails(text)
        for tail in ends:
            parent = os.path.dirname(tail)
            for folder in self._folders:
                if self._is_folder(os.path.join(folder, parent)) and (found := self._root.file(folder / tail)) is not None:
                    return tail, found
        for tail in ends:
            for folder in self._folders:
                spelt = self._root.disk.in_any_case(folder, tail)
                if spelt is not None and (found := self._root.file(folder / spelt)) is not None:
                    return nfc(spelt), found
        return None

    def _is_folder(self, path: str) -> bool:
        if path not in self._exists:
            self._exists[path] = os.path.isdir(self._root.disk.find(path))
        return self._exists[path]
