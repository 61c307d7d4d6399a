"""Phrases for messages: counts with nouns, advice about missing paths, and errors of other libraries."""

from __future__ import annotations

import re
from pathlib import Path

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_PLACES = ("Exception from ", "Check '")


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a count with its noun. The default plural is the singular with an "s" appended.

    Example:
        >>> counted(1, "face"), counted(2, "face"), counted(0, "person", "people")
        ('1 face', '2 faces', '0 people')
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def look_at(path: Path) -> str:
    """Return advice for a path that doesn't exist; for a relative path, the advice names the current folder.

    Example:
        >>> look_at(Path("/pictures"))
        'Check the path'
    """
    return "Check the path" if path.is_absolute() else f"Check the path; it is relative to {Path.cwd()}"


def reason(error: BaseException) -> str:
    r"""Return the type and message of a third-party error on one line, without colour codes.

    For chained errors, these are the type and message of the original error. OpenVINO's messages start with locations in its code, and the
    last line is the actual error. In messages of other libraries, the first line is the error.

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
