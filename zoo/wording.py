"""Numbers of things, and places that aren't there, in words."""

from __future__ import annotations

from pathlib import Path


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
