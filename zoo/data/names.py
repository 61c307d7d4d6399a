"""Comparison of file and class names after Unicode normalisation: macOS writes "é" as two characters, other systems as one.

Windows and macOS also find files by names in another case, so annotations made there may contain such names.
"""

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
    """Finds files whose names differ from the requested ones only in their normal form. Listings of folders are cached."""

    def __init__(self) -> None:
        self._listings: dict[str, dict[str, str]] = {}
        self._cases: dict[str, dict[str, list[str]]] = {}

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

    def in_any_case(self, folder: str | Path, name: str) -> str | None:
        """Return a path, relative to a folder, as it is spelt on disk if it differs only in case; None if there is none, or several."""
        found: list[str] = []
        for part in (part for part in name.split("/") if part not in ("", ".")):
            place = self.find(os.path.join(folder, *found))
            alike = self._alike(place).get(nfc(part).casefold(), [])
            if len(alike) > 1:
                alike = [each for each in alike if nfc(each) == nfc(part)]
            if len(alike) != 1:
                return None
            found += alike
        return "/".join(found)

    def _alike(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder by their forms without case."""
        if folder not in self._cases:
            names: dict[str, list[str]] = {}
            self._cases[folder] = names
            try:
                for name in sorted(os.listdir(folder)):
                    names.setdefault(nfc(name).casefold(), []).append(name)
            except (OSError, ValueError):  # it isn't a folder, or its name is too long or contains a null character
                pass
        return self._cases[folder]

    def _listing(self, folder: str) -> dict[str, str]:
        if folder not in self._listings:
            names = os.listdir(folder) if os.path.isdir(folder) else []
            self._listings[folder] = {nfc(name): name for name in names if not name.isascii()}
        return self._listings[folder]
