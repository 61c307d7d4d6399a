"""`identities:` – one folder of pictures per person, with or without train/val/test above them."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import is_picture_name, picture_files, split_folders, subfolders
from zoo.data.formats import Scheme, finish
from zoo.data.reference import DataRef
from zoo.errors import DataError, Fault, Flaw
from zoo.registry import natural_key
from zoo.tasks.face.datasets import SCHEMES


def open_identities(ref: DataRef, on_error: OnError) -> Dataset:
    """Read person folders; classes are the folder names in natural order (s2 before s10); pictures may lie deeper.

    Several splits (`split=train,test`) are one set, in which a folder of the same name is the same person. A person without pictures
    and a picture outside every person's folder are faults; files that aren't pictures are no samples.

    Raises:
        DataError: no person folders, faults, or a path that is no folder.
        InputError: a split that isn't there, or splits without `split=`.
    """
    root = ref.folder()
    bases = split_folders(ref, root)
    folders: dict[str, list[Path]] = {}
    for folder in sorted((folder for base in bases for folder in subfolders(base)), key=lambda folder: natural_key(folder.name)):
        folders.setdefault(folder.name, []).append(folder)
    if not folders:
        searched = " and ".join(map(str, bases))
        raise DataError(f"data {ref.text!r}: {searched} has no person folders; expected one folder of pictures per person")
    misplaced = Flaw("a picture outside every person's folder; expected person/picture", "no-annotation")
    faults = [
        misplaced.at(file.relative_to(root).as_posix(), whole=True)
        for base in bases
        for file in sorted(base.iterdir())
        if file.is_file() and is_picture_name(file.name)
    ]
    records: list[Record] = []
    people: list[str] = []
    for name, theirs in folders.items():
        files = sorted(
            (file for folder in theirs for file in picture_files(folder)),
            key=lambda file: natural_key(file.relative_to(root).as_posix()),
        )
        if not files:
            faults.append(Fault(str(theirs[0]), "a person folder without pictures", kind="empty-class"))
            continue
        records += [Record(file.relative_to(root).as_posix(), file, len(people)) for file in files]
        people.append(name)
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
