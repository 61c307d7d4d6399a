"""Scheme `identities:` – one folder of images per person, optionally inside folders for splits (train, val, test)."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import Folders
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.names import nfc
from zoo.data.splits import recognise_folders, split_folders
from zoo.errors import DataError, Fault, Flaw
from zoo.registry import natural_key
from zoo.tasks.face.datasets import SCHEMES


def open_identities(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset with one folder per person. The classes are the folder names in natural order (s2 before s10).

    Person folders are searched recursively. Several splits (`split=train,test`) form one dataset, in which folders with the same name show
    the same person. Person folders without images, and images outside all person folders, are faults. Other files are ignored.
    """
    root = ref.folder()
    walk = Folders(root, ref.links)
    bases = split_folders(ref, walk, root)
    folders: dict[str, list[Path]] = {}
    for folder in sorted((folder for base in bases for folder in walk.subfolders(base)), key=lambda folder: natural_key(folder.name)):
        folders.setdefault(nfc(folder.name), []).append(folder)
    if not folders:
        searched = " and ".join(map(str, bases))
        raise DataError(f"data {ref.text!r}: no person folders in {searched}; expected one folder of images per person")
    misplaced = Flaw("the image is not in a person folder; expected the path person/image", "no-annotation")
    faults = [misplaced.at(file.relative_to(root).as_posix(), whole=True) for base in bases for file in walk.pictures(base, deep=False)]
    records: list[Record] = []
    people: list[str] = []
    for name, theirs in folders.items():
        files = sorted(
            (file for folder in theirs for file in walk.pictures(folder)),
            key=lambda file: natural_key(file.relative_to(root).as_posix()),
        )
        if not files:
            faults.append(Fault(str(theirs[0]), "the person folder contains no images", kind="empty-class"))
            continue
        records += [Record(file.relative_to(root).as_posix(), file, len(people)) for file in files]
        people.append(name)
    return finish(ref, records, people, [*faults, *walk.faults], on_error, notes=walk.notes)


def _recognise(path: Path) -> str | None:
    paired = [*path.glob("pairs*.txt"), *path.glob("pairs*.csv")]
    return None if paired else recognise_folders(path)  # with a list of pairs, the format is lfw:


SCHEMES.add("identities", Scheme("identities", open_identities, _recognise))
