"""Comparison of file and class names after Unicode normalisation: macOS writes "é" as two characters, other systems as one."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def nfc(text: str) -> str:
    """Return a name in Unicode's normal form C. Names are equal if their normal forms are."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def unique(names: Iterable[str]) -> list[str]:
    """Return the normal forms of names without repetitions, in order."""
    return list(dict.fromkeys(map(nfc, names)))


class Disk:
    """Finds files whose names differ from the requested ones only in their normal form. Listings of folders are kept."""

    def __init__(self) -> None:
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, path: str | Path) -> str:
        """Return a path as it is spelt on disk; unchanged if it is spelt so, or doesn't exist."""
        text = os.fspath(path)
        try:
            if text.isascii() or os.path.lexists(text):
                return text
            parent, name = os.path.split(text)
            folder = self.find(parent) if name and parent != text else parent
            return os.path.join(folder, self._listing(folder).get(nfc(name), name))
        except (OSError, ValueError):  # the name is too long, or contains a null character
            return text

    def _listing(self, folder: str) -> dict[str, str]:
        if folder not in self._listings:
            names = os.listdir(folder) if os.path.isdir(folder) else []
            self._listings[folder] = {nfc(name): name for name in names if not name.isascii()}
        return self._listings[folder]
