"""Splits of VOC datasets: lists of names in ImageSets/Main, or folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.folders import Folders, listed
from zoo.data.formats import DataRef
from zoo.data.links import check_list
from zoo.data.lists import read_lines, unquoted
from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.data.splits import match_split, split_kind
from zoo.data.voc.folder import ANNOTATIONS, PICTURES, Annotation, VocFolder, annotation_files, folder_split
from zoo.errors import Fault, InputError, MixedSplitsError
from zoo.images import decoding

_LONGEST = 1000  # characters of a line
_SETS = ("ImageSets/Main", "ImageSets")
_SUFFIX = re.compile(rf"\.xml$|({'|'.join(map(re.escape, decoding.SUFFIXES))})$", re.IGNORECASE)
_COLUMN = re.compile(r"\s+-?\d+$")
_COLUMNS = re.compile(r"(?:\s+-?\d+)+$")
_PAIR = re.compile(r"\S.*\s(\S.*\.xml)$", re.IGNORECASE)
# VOC's lists of a class have a second column, 1 or -1, others have several; some lists contain both the image and the annotation file
_READINGS: tuple[Callable[[str], str], ...] = (
    lambda line: line,
    lambda line: unquoted(_COLUMN.sub("", line)),
    lambda line: unquoted(_COLUMNS.sub("", line)),
    lambda line: unquoted(pair[1]) if (pair := _PAIR.fullmatch(line)) else line,
)


@dataclass(frozen=True)
class Split:
    """The annotations of a split, faults of its list, and whether it has a list, which need not contain all images."""

    annotations: list[Annotation]
    faults: list[Fault]
    listed: bool


def choose(ref: DataRef, folder: VocFolder) -> Split:
    """Return the annotations of the requested split, or all annotations if none was requested.

    Raises:
        InputError: the split doesn't exist, or none was requested although all annotations are in folders of splits.
        MixedSplitsError: none was requested, and some are in folders of splits.
    """
    lists = find_lists(folder.root)
    parts = list(dict.fromkeys(part for annotation in folder.annotations if (part := annotation.split)))
    if ref.split is None:
        others = dict.fromkeys(_parent(annotation.key) for annotation in folder.annotations if not annotation.split)
        if not parts or lists:
            return Split(list(folder.annotations), [], listed=False)
        choice = f"choose one with ?split={parts[0]}"
        if others:
            raise MixedSplitsError(f"data {ref.text!r} mixes splits ({', '.join(parts)}) and other folders ({', '.join(others)}); {choice}")
        raise InputError(f"data {ref.text!r} has the splits {', '.join(parts)}; {choice}")
    if name := match_split(ref.split, lists):
        return _of_lists(folder, lists[name])
    if name := match_split(ref.split, parts):
        return Split([annotation for annotation in folder.annotations if annotation.split == name], [], listed=False)
    known = (
        f"its folders are: {', '.join(parts)}"
        if parts and not lists
        else f"the lists in {folder.root / _SETS[0]} are: {', '.join(lists) or 'none'}"
    )
    raise InputError(f"data {ref.text!r}: no split {ref.split!r}; {known}")


def split_names(root: Path) -> list[str]:
    """Return the names of a dataset's lists, or of its folders if it has no lists, that are names of splits.

    The list `trainval` isn't one, because it is the union of two splits.
    """
    if not root.is_dir():
        return []
    keys = (file.relative_to(root).as_posix() for file in annotation_files(Folders(root)))
    names = list(find_lists(root)) or [part for key in keys if (part := folder_split(key))]
    return [name for name in dict.fromkeys(names) if split_kind(name)]


def find_lists(root: Path) -> dict[str, list[Path]]:
    """Return the lists of a dataset folder by name. A folder of several VOC datasets has one list of a name for each of them."""
    inner = Folders(root).subfolders(root)
    bases = [root] if any((root / sets).is_dir() for sets in _SETS) else inner
    folders = [next((base / sets for sets in _SETS if _texts(base / sets)), None) for base in bases]
    files = [file for folder in folders if folder is not None for file in _texts(folder)]
    if not files:  # lists beside the folders, or in the folder of annotations
        beside = (file for base in (root, *inner) for file in _texts(base))
        files = [file for file in beside if split_kind(file.stem) or file.stem.lower() == "trainval"]
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(file.stem, []).append(file)
    return found


def _texts(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.txt") if not file.name.startswith("."))


class Names:
    """Finds annotations by the names in a list: with or without suffix and folders, even those of another computer.

    The usual folders of annotations and images are not part of a name.
    """

    def __init__(self, annotations: Sequence[Annotation]) -> None:
        self._whole: dict[str, list[Annotation]] = {}
        self._ends: dict[str, list[Annotation]] = {}
        for annotation in annotations:
            parts = _plain(_SUFFIX.sub("", annotation.key)).split("/")
            self._whole.setdefault("/".join(parts), []).append(annotation)
            for place in range(1, len(parts)):
                self._ends.setdefault("/".join(parts[place:]), []).append(annotation)

    def find(self, name: str) -> list[Annotation]:
        """Return the annotations whose path ends with a name, or whose whole path is a trailing part of it."""
        if ".." in re.split(r"[\\/]", name):
            return []
        for place, end in enumerate(tails(_plain(name))):
            for stem in (end, _SUFFIX.sub("", end)):
                if found := self._whole.get(stem, []) or (self._ends.get(stem, []) if place == 0 else []):
                    return found
        return []

    def read(self, lines: Sequence[str]) -> list[list[Annotation]]:
        """Return the annotations of each line of a list, with the interpretation of its columns by which most lines match annotations."""
        readings = [[self.find(reading(line)) if len(line) < _LONGEST else [] for line in lines] for reading in _READINGS]
        return max(readings, key=lambda found: sum(map(bool, found)))


def read_list(folder: VocFolder, file: Path) -> list[tuple[int, str, list[Annotation]]]:
    """Return the number, the text and the annotations of each line of a list. They are below the folder that contains `ImageSets`."""
    base = file.parents[2] if file.parent.name == "Main" else file.parents[1] if file.parent.name == "ImageSets" else folder.root
    inside = [annotation for annotation in folder.annotations if annotation.file.is_relative_to(base)]
    check_list(file, folder.root)
    lines = read_lines(file)
    found = Names(inside).read([line for _, line in lines])
    return [(number, line, annotations) for (number, line), annotations in zip(lines, found, strict=True)]


def _of_lists(folder: VocFolder, files: Sequence[Path]) -> Split:
    chosen: dict[Annotation, None] = {}
    faults: list[Fault] = []
    for file in files:
        for number, line, found in read_list(folder, file):
            name = _SUFFIX.sub("", _COLUMNS.sub("", line[:_LONGEST]))
            place = f"{file.relative_to(folder.root).as_posix()} line {number}"
            if not found:
                text = f"is listed in the split, but missing from Annotations ({place})"
                faults.append(Fault(f"Annotations/{name}.xml", text, whole=True, kind="no-annotation"))
            elif len(found) > 1:
                text = f"is listed in the split, but is the name of several files ({place}): {listed([each.key for each in found])}"
                faults.append(Fault(f"Annotations/{name}.xml", text, whole=True, kind="no-annotation"))
            else:
                chosen[found[0]] = None
    return Split(list(chosen), faults, listed=True)


def _plain(path: str) -> str:
    *folders, name = re.split(r"[\\/]", nfc(path))
    return "/".join([*(folder for folder in folders if not ANNOTATIONS.fullmatch(folder) and not PICTURES.fullmatch(folder)), name])


def _parent(key: str) -> str:
    return key.rpartition("/")[0] or "."
