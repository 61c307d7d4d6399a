"""The `folder:` format: one folder of images per class, optionally inside train/val/test."""

from __future__ import annotations

from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import picture_files, recognise_folders, split_folder, subfolders
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import DataError, Fault
from zoo.tasks.classification.datasets import SCHEMES


def open_folder(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a folder with one subfolder of images per class.

    The classes are the names of the subfolders, sorted, or in the order of a `classes.txt`. Images may be nested more deeply.
    """
    root = ref.folder()
    base = split_folder(ref, root)
    folders = subfolders(base)
    if not folders:
        raise DataError(f"data {ref.text!r}: {base} has no class folders; expected one folder of images per class")
    records, faults = [], []
    classes = in_order([folder.name for folder in folders], root)
    for folder in folders:
        files = picture_files(folder)
        if not files:
            faults.append(Fault(str(folder), "the class folder contains no images", kind="empty-class"))
        records += [Record(file.relative_to(root).as_posix(), file, classes.index(folder.name)) for file in files]
    return finish(ref, records, classes, faults, on_error)


SCHEMES.add("folder", Scheme("folder", open_folder, recognise_folders))
