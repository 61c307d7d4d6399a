"""`identities:` – one folder of pictures per person, with or without train/val/test above them."""

from __future__ import annotations

from pathlib import Path

from zoo.data import Dataset, OnError, Record
from zoo.data_ref import DataRef
from zoo.errors import DataError, Fault, Flaw
from zoo.picture_folders import is_picture_name, picture_files, split_folder, subfolders
from zoo.registry import natural_key
from zoo.schemes import Scheme, finish
from zoo.tasks.face.datasets import SCHEMES


def open_identities(ref: DataRef, on_error: OnError) -> Dataset:
    """Read person folders; classes are the folder names in natural order (s2 before s10); pictures may lie deeper.

    A person without pictures and a picture outside every person's folder are faults; files that aren't pictures are no samples.

    Raises:
        DataError: no person folders, faults, or a path that is no folder.
        InputError: a split that isn't there, or splits without `split=`.
    """
    root = ref.folder()
    base = split_folder(ref, root)
    folders = sorted(subfolders(base), key=lambda folder: natural_key(folder.name))
    if not folders:
        raise DataError(f"data {ref.text!r}: {base} has no person folders; expected one folder of pictures per person")
    misplaced = Flaw("a picture outside every person's folder; expected person/picture", "no-annotation")
    faults = [
        misplaced.at(file.relative_to(root).as_posix(), whole=True)
        for file in sorted(base.iterdir())
        if file.is_file() and is_picture_name(file.name)
    ]
    records: list[Record] = []
    people: list[str] = []
    for folder in folders:
        files = sorted(picture_files(folder), key=lambda file: natural_key(file.relative_to(root).as_posix()))
        if not files:
            faults.append(Fault(str(folder), "a person folder without pictures", kind="empty-class"))
            continue
        records += [Record(file.relative_to(root).as_posix(), file, len(people)) for file in files]
        people.append(folder.name)
    return finish(ref, records, people, faults, on_error)


def recognise(path: Path) -> str | None:
    """Return why a folder looks like people's pictures, or None."""
    folders = subfolders(path)
    if any(path.glob("pairs*.txt")):  # a protocol of its own: lfw:
        return None
    if not any(picture_files(folder) for folder in folders[:3]):
        return None
    return f"it holds {len(folders)} folders with pictures"


SCHEMES.add("identities", Scheme("identities", open_identities, recognise))
