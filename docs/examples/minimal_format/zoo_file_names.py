"""A minimal dataset format: `names:FOLDER`, where the class is the file name up to the last underscore, as in tabby_cat_17.jpg."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import Folders
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.splits import split_folder
from zoo.errors import Fault


def class_of(path: Path) -> str:
    """Return the class in a file name: tabby_cat of tabby_cat_17.jpg; "" if there is none."""
    return path.stem.rpartition("_")[0]


def open_names(ref: DataRef, on_error: OnError) -> Dataset:
    """Read the images of a folder, or of its sub-folder that `?split=` names.

    Every problem is collected as a `Fault`, so that one message lists them all; `finish` raises or skips them, and applies
    `?classes=` and `?limit=`.
    """
    root = ref.folder()
    folders = Folders(root, ref.links)
    files = folders.pictures(split_folder(ref, folders, root))
    classes = sorted({class_of(file) for file in files} - {""})
    records = [Record(file.relative_to(root).as_posix(), file, classes.index(class_of(file))) for file in files if class_of(file)]
    faults = [
        Fault(str(file), "the name has no class; expected CLASS_NUMBER.SUFFIX, such as cat_17.jpg", whole=True)
        for file in files
        if not class_of(file)
    ]
    return finish(ref, records, classes, [*faults, *folders.faults], on_error, notes=folders.notes)


NAMES = Scheme("names", open_names)
