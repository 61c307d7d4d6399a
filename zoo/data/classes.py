"""The order of the classes, where a format keeps none of its own: an optional `classes.txt`, one name a line.

`zoo data convert` and `zoo data split` write it where the order, or a class without samples, would be lost otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from zoo.errors import DataError
from zoo.system.files import write_text

FILE = "classes.txt"


def in_order(found: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the classes as `classes.txt` in a folder orders them; as they are found where there is no such file.

    Raises:
        DataError: the file can't be read, names a class twice, or lacks one that the data has.
    """
    file = folder / FILE
    if not file.is_file():
        return tuple(found)
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error})") from error
    if len(set(names)) < len(names):
        raise DataError(f"{file}: a class is there twice; expected one class per line, each once")
    if missing := [name for name in found if name not in names]:
        raise DataError(f"{file} lacks {len(missing)} of the data's classes: {', '.join(missing[:8])}. Add them, or remove the file")
    return tuple(names)


def write_order(classes: Sequence[str], found: Iterable[str], folder: Path) -> None:
    """Write `classes.txt` where a reader would not come to the same order by itself.

    Args:
        classes: the names in their order.
        found: the names as the reader orders those it meets.
        folder: where the reader looks.
    """
    if list(found) != list(classes):
        write_text(folder / FILE, "".join(f"{name}\n" for name in classes))


def unnamed(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none: their indices."""
    return tuple(str(index) for index in range(count))
