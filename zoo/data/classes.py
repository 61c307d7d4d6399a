"""The optional file `classes.txt`, which stores the class order for formats that don't, with one class name per line.

`zoo data convert` and `zoo data split` write the file if the order, or a class without samples, would otherwise be lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from zoo.data.links import check_list
from zoo.data.lists import read_lines
from zoo.data.names import nfc, unique
from zoo.errors import DataError
from zoo.system.files import write_text

FILE = "classes.txt"


def in_order(found: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the classes `found` in the data in the order of a folder's `classes.txt`, or as they are if there is none, in normal form.

    Raises:
        DataError: as for `listed_classes`, or the file lacks a class.
    """
    names, found = listed_classes(folder), unique(found)
    if names is None:
        return tuple(found)
    if missing := [name for name in found if name not in names]:
        raise DataError(
            f"{folder / FILE} lacks {len(missing)} of the data's classes: {', '.join(missing[:8])}. Add them, or remove the file"
        )
    return names


def listed_classes(folder: Path) -> tuple[str, ...] | None:
    """Return the names in a folder's `classes.txt`; None if there is none.

    Raises:
        DataError: as for `read_classes`, or the file is a link that leaves the folder.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    check_list(file, folder)
    return read_classes(file)


def read_classes(file: Path) -> tuple[str, ...]:
    """Return the class names of a file with one name per line, in normal form.

    Raises:
        DataError: the file can't be read, or lists a class twice.
    """
    names = [nfc(name) for _, name in read_lines(file, keep_quotes=True)]
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise DataError(f"{file}: class {twice!r} is listed more than once; expected one class per line")
    return tuple(names)


def write_order(classes: Sequence[str], found: Iterable[str], folder: Path) -> None:
    """Write `classes.txt` to a folder, unless `found`, the class order that a reader derives from the data, is the same as `classes`."""
    if list(found) != list(classes):
        write_text(folder / FILE, "".join(f"{name}\n" for name in classes))


def whole_numbers(labels: Collection[str]) -> dict[str, str]:
    """Return the names of labels that are all whole numbers and partly written as fractions ("0.0"), as pandas does; empty if they aren't.

    Example:
        >>> whole_numbers(["0.0", "10.0"]), whole_numbers(["1", "2"]), whole_numbers(["1.0", "1.5"])
        ({'0.0': '0', '10.0': '10'}, {}, {})
    """
    whole = {label: match[1] for label in labels if (match := re.fullmatch(r"(-?\d{1,15})(?:\.0+)?", label, re.ASCII))}
    return whole if len(whole) == len(labels) and any(label != name for label, name in whole.items()) else {}


def unnamed(count: int) -> tuple[str, ...]:
    """Return the default names of classes that have no names, which are their indices."""
    return tuple(str(index) for index in range(count))
