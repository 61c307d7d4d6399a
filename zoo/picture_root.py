"""The folder that the paths in annotations may not leave."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zoo.errors import Flaw


class PictureRoot:
    """Finds the files that annotations name, and nothing outside the data's folder.

    A hostile or careless annotation file could otherwise reach any file of the machine: through `../`, an absolute path or a link.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder; its links are resolved once."""
        self.folder = folder
        self._real = os.path.realpath(folder)
        self._real_parents: dict[str, str] = {}

    def find(self, text: str, base: Path | None = None) -> tuple[str, Path]:
        """Return the key (the path relative to the folder, with `/`) and the file that a path names.

        Args:
            text: as it stands in the annotations; absolute paths inside the folder are fine.
            base: what it is relative to; None for the folder itself.

        Raises:
            Flaw: the path is empty, leaves the folder, or is no file.
        """
        parent, name = os.path.split(os.path.join(base or self.folder, text))
        if not text or "\0" in text or name in ("", ".", ".."):
            raise Flaw(f"{text!r} is no path of a file")
        if parent not in self._real_parents:
            self._real_parents[parent] = os.path.realpath(parent)
        place = os.path.join(self._real_parents[parent], name)
        try:
            found = os.lstat(place)
            real = os.path.realpath(place) if stat.S_ISLNK(found.st_mode) else place
            self._check_inside(text, real)
            mode = os.stat(real).st_mode
        except OSError as error:
            self._check_inside(text, place)  # whether something exists outside is nobody's business
            raise Flaw(f"{text!r} can't be found in {self.folder}: {error.strerror}", "no-picture") from None
        if not stat.S_ISREG(mode):
            raise Flaw(f"{text!r} is no file", "no-picture")
        key = os.path.relpath(place if self._holds(place) else real, self._real)
        return key.replace(os.sep, "/"), self.folder / key

    def holds(self, path: Path) -> bool:
        """Tell whether a path, with its links followed, is the folder or lies inside it."""
        return self._holds(os.path.realpath(path))

    def _holds(self, real: str) -> bool:
        return os.path.commonpath([self._real, real]) == self._real

    def _check_inside(self, text: str, real: str) -> None:
        if not self._holds(real):
            raise Flaw(f"{text!r} leaves the data's folder {self.folder}; pictures and annotations must lie inside it")
