"""Numbers of things, in words."""

from __future__ import annotations


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
