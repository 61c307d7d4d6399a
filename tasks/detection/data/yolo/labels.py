"""Label files of YOLO datasets: in a folder `labels` parallel to the images, in a folder of another name, or beside the images."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from zoo.data.folders import Folders, PictureRoot, listed
from zoo.data.names import nfc
from zoo.data.splits import starts_like_yolo

_LABELS = re.compile(r"labels?|label_?txt.*|annotations?|annos?|txts?|yolo([ _-]?labels?)?|bbox(es)?", re.IGNORECASE)
_OTHERS = re.compile(r"classes|readme.*|notes|requirements|predefined_classes", re.IGNORECASE)


def label_key(picture_key: str) -> str:
    """Return the path of an image's label file: the last folder named `images` is replaced by `labels`, and the suffix by `.txt`."""
    head, images, tail = f"/{picture_key}".rpartition("/images/")
    moved = f"{head}/labels/{tail}" if images else f"/{picture_key}"
    return posixpath.splitext(moved[1:])[0] + ".txt"


def label_files(folders: Folders, labels: Path) -> Iterator[Path]:
    """Yield the text files in a folder of labels and its subfolders."""
    return (Path(file) for file in (folders.files(labels) if labels.is_dir() else ()) if file.lower().endswith(".txt"))


def is_labels(file: Path) -> bool:
    """Return whether a text file starts like a label file."""
    return _OTHERS.fullmatch(file.stem) is None and starts_like_yolo(file)


class Labels:
    """Finds the label file of each image.

    Ultralytics' rule (`label_key`) decides if the folder exists to which it leads. Otherwise, the labels are beside the images, or in the
    nearest parallel folder that contains a file of the same name as one of the images.
    """

    def __init__(self, root: PictureRoot, folders: Folders, keys: Collection[str]) -> None:
        self._root, self._folders, self._count = root, folders, len(keys)
        self._listings: dict[str, dict[str, str]] = {}
        self.missing: list[str] = []  # keys of the images without a label file
        self.elsewhere: dict[str, str] = {}  # label folders that aren't those of Ultralytics' rule, by image folder
        self._places: dict[str, str] = {}
        stems: dict[str, list[str]] = {}
        for key in keys:
            folder, name = posixpath.split(key)
            stems.setdefault(folder, []).append(posixpath.splitext(name)[0])
        for folder, names in stems.items():
            self._places[folder] = self._place(folder, names)

    @property
    def places(self) -> list[str]:
        """Folders of the labels, relative to the dataset folder."""
        return list(dict.fromkeys(self._places.values()))

    @property
    def notes(self) -> list[str]:
        """Which labels aren't where Ultralytics expects them, and which images have none."""
        found = [f"labels of {folder or 'the images'} are read from {place}" for folder, place in self.elsewhere.items()]
        notes = [f"the labels are not in a folder labels parallel to images: {listed(found)}"] if found else []
        if len(self.missing) == self._count > 0:
            places = ", ".join(place or "the dataset folder" for place in self.places[:3])
            notes.append(f"no image has a label file (searched in {places}): all are read as images without objects")
        elif self.missing:
            notes.append(f"images without a label file, read as images without objects: {listed(self.missing)}")
        return notes

    def find(self, picture_key: str) -> str | None:
        """Return the path of an image's label file, relative to the dataset folder; None if there is none."""
        folder, name = posixpath.split(picture_key)
        stem, place = posixpath.splitext(name)[0], self._places[folder]
        key = posixpath.join(place, f"{stem}.txt")
        if os.path.lexists(self._root.disk.find(self._root.folder / key)):
            return key
        listing = self._listing(place)
        found = listing.get(stem) or listing.get(name)  # a.TXT, or a.jpg.txt
        if found is None:
            self.missing.append(picture_key)
            return None
        return posixpath.join(place, found)

    def _place(self, folder: str, stems: list[str]) -> str:
        """Return the label folder of an image folder."""
        usual = posixpath.dirname(label_key(f"{folder}/x" if folder else "x"))
        if usual != folder and os.path.isdir(self._root.disk.find(self._root.folder / usual)):
            return usual
        for place in dict.fromkeys((folder, *self._parallel(folder))):
            listing = self._listing(place)
            if any(stem in listing for stem in stems):
                if place != folder:
                    self.elsewhere[folder] = place
                return place
        return usual

    def _parallel(self, folder: str) -> Iterator[str]:
        """Yield the folders of labels that are parallel to an image folder, the nearest first."""
        parts = folder.split("/") if folder else []
        for depth in range(len(parts), -1, -1):
            base, inner = "/".join(parts[:depth]), parts[depth:]
            for place in self._folders.subfolders(self._root.folder / base):
                if _LABELS.fullmatch(place.name):
                    for tail in (inner[1:], inner, []):
                        yield posixpath.join(base, nfc(place.name), *tail)

    def _listing(self, place: str) -> Mapping[str, str]:
        """Return the names of the text files in a folder by their stems."""
        if place not in self._listings:
            path = self._root.disk.find(self._root.folder / place)
            names = os.listdir(path) if os.path.isdir(path) else []
            self._listings[place] = {nfc(os.path.splitext(name)[0]): nfc(name) for name in names if name.lower().endswith(".txt")}
        return self._listings[place]
