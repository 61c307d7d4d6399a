"""The `folder:` format: one folder of images per class, optionally inside train/val/test."""

from __future__ import annotations

from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import Folders, listed
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.names import nfc
from zoo.data.splits import recognise_folders, split_folder
from zoo.errors import DataError, Fault
from zoo.tasks.classification.datasets import SCHEMES


def open_folder(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a folder with one subfolder of images per class.

    The classes are the names of the subfolders, sorted, or in the order of a `classes.txt`. Images may be nested more deeply. Images beside
    the class folders are ignored.
    """
    root = ref.folder()
    walk = Folders(root, ref.links)
    base = split_folder(ref, walk, root)
    folders = walk.subfolders(base)
    if not folders:
        raise DataError(f"data {ref.text!r}: {base} has no class folders; expected one folder of images per class")
    records, faults = [], []
    classes = in_order([folder.name for folder in folders], root)
    for folder in folders:
        files = walk.pictures(folder)
        if not files:
            faults.append(Fault(str(folder), "the class folder contains no images", kind="empty-class"))
        records += [Record(file.relative_to(root).as_posix(), file, classes.index(nfc(folder.name))) for file in files]
    beside = [file.relative_to(root).as_posix() for file in walk.pictures(base, deep=False)]
    notes = [*walk.notes, *([f"images outside the class folders, ignored: {listed(beside)}"] if beside else [])]
    return finish(ref, records, classes, [*faults, *walk.faults], on_error, notes=notes)


SCHEMES.add("folder", Scheme("folder", open_folder, recognise_folders))
