"""Numbers of things, places that aren't there, and what others raise, in words."""

from __future__ import annotations

import re
from pathlib import Path

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_PLACES = ("Exception from ", "Check '")


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun.

    Args:
        count: how many.
        one: the noun.
        several: its plural; the noun with an s by default.

    Example:
        >>> counted(1, "face"), counted(2, "face"), counted(0, "person", "people")
        ('1 face', '2 faces', '0 people')
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def look_at(path: Path) -> str:
    """Return what somebody is to look at who has named a file or folder that isn't there: the path, and what it starts from.

    Args:
        path: as it was named.

    Example:
        >>> look_at(Path("/pictures"))
        'Check the path'
    """
    return "Check the path" if path.is_absolute() else f"Check the path; it is relative to {Path.cwd()}"


def reason(error: BaseException) -> str:
    r"""Return what an error of somebody else's is, on one line: of the first of those that led to it, without colours.

    OpenVINO begins with the places in its code, and says in the end what is wrong; others say it first.

    Example:
        >>> reason(ValueError("no such thing\nand much more")), reason(KeyError())
        ('ValueError: no such thing', 'KeyError')
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return f"{type(error).__name__}: {lines[-1 if lines[0].startswith(_PLACES) else 0].strip()}"
