"""Class order for formats that don't store one: an optional file `classes.txt` with one name per line.

`zoo data convert` and `zoo data split` write it if the order, or a class without samples, would be lost otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from zoo.errors import DataError
from zoo.system.files import write_text

FILE = "classes.txt"


def in_order(found: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the classes in the order of the folder's `classes.txt`, which must name each once, or in the order found without this file."""
    file = folder / FILE
    if not file.is_file():
        return tuple(found)
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error})") from error
    if len(set(names)) < len(names):
        raise DataError(f"{file}: a class is listed twice; expected one class per line, each once")
    if missing := [name for name in found if name not in names]:
        raise DataError(f"{file} lacks {len(missing)} of the data's classes: {', '.join(missing[:8])}. Add them, or remove the file")
    return tuple(names)


def write_order(classes: Sequence[str], found: Iterable[str], folder: Path) -> None:
    """Write `classes.txt`, unless `found`, the order that a reader derives from the data, is the same."""
    if list(found) != list(classes):
        write_text(folder / FILE, "".join(f"{name}\n" for name in classes))


def unnamed(count: int) -> tuple[str, ...]:
    """Return names for classes without names: their indices."""
    return tuple(str(index) for index in range(count))
