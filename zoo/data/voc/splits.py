"""Splits of VOC datasets: lists of names in ImageSets/Main, or folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.folders import listed
from zoo.data.formats import DataRef
from zoo.data.lists import read_lines
from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.data.splits import match_split, split_kind
from zoo.data.voc.folder import Annotation, VocFolder
from zoo.errors import Fault, InputError
from zoo.images import decoding

_SETS = ("ImageSets/Main", "ImageSets")
_SUFFIX = re.compile(rf"\.xml$|({'|'.join(map(re.escape, decoding.SUFFIXES))})$", re.IGNORECASE)
_COLUMNS = re.compile(r"(?:\s+-?\d+)+$")
_PAIR = re.compile(r"\S.*\s(\S.*\.xml)$", re.IGNORECASE)
# VOC's lists of a class have a second column, 1 or -1, others have several; some lists contain both the image and the annotation file
_READINGS: tuple[Callable[[str], str], ...] = (
    lambda line: line,
    lambda line: _COLUMNS.sub("", line),
    lambda line: pair[1] if (pair := _PAIR.fullmatch(line)) else line,
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
        InputError: the split doesn't exist, or none was requested although folders are splits.
    """
    lists = find_lists(folder.root)
    parts = list(dict.fromkeys(part for annotation in folder.annotations if (part := annotation.split)))
    if ref.split is None:
        others = dict.fromkeys(_parent(annotation.key) for annotation in folder.annotations if not annotation.split)
        if not parts or lists:
            return Split(list(folder.annotations), [], listed=False)
        choice = f"choose one with ?split={parts[0]}"
        if others:
            raise InputError(f"data {ref.text!r} mixes splits ({', '.join(parts)}) and other folders ({', '.join(others)}); {choice}")
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


def find_lists(root: Path) -> dict[str, list[Path]]:
    """Return the lists of a dataset folder by name. A folder of several VOC datasets has one list of a name for each of them."""
    found: dict[str, list[Path]] = {}
    bases = [root] if any((root / sets).is_dir() for sets in _SETS) else [path for path in sorted(root.iterdir()) if path.is_dir()]
    for base in bases:
        sets = next((base / sets for sets in _SETS if any((base / sets).glob("*.txt"))), None)
        for file in sorted(sets.glob("*.txt")) if sets is not None else []:
            found.setdefault(file.stem, []).append(file)
    if not found:  # lists beside the folders, or in the folder of annotations
        files = [file for base in (root, *bases) for file in sorted(base.glob("*.txt"))]
        for file in files:
            if split_kind(file.stem) or file.stem.lower() == "trainval":
                found.setdefault(file.stem, []).append(file)
    return found


class Names:
    """Finds annotations by the names in a list: with or without suffix and folders, also those of another computer."""

    def __init__(self, annotations: Sequence[Annotation]) -> None:
        self._found: dict[str, list[Annotation]] = {}
        for annotation in annotations:
            for end in tails(nfc(_SUFFIX.sub("", annotation.key))):
                self._found.setdefault(end, []).append(annotation)

    def find(self, name: str) -> list[Annotation]:
        """Return the annotations of the longest end of a name that any have."""
        if ".." in re.split(r"[\\/]", name):
            return []
        for end in tails(nfc(name)):
            if found := self._found.get(end) or self._found.get(_SUFFIX.sub("", end)):
                return found
        return []

    def read(self, lines: Sequence[str]) -> list[list[Annotation]]:
        """Return the annotations of each line of a list, in the reading of the columns in which most lines name annotations."""
        readings = [[self.find(reading(line)) for line in lines] for reading in _READINGS]
        return max(readings, key=lambda found: sum(map(bool, found)))


@dataclass(frozen=True)
class Listed:
    """The lines of a list, with the annotations of each."""

    lines: list[tuple[int, str]]
    found: list[list[Annotation]]


def read_list(folder: VocFolder, file: Path) -> Listed:
    """Return the lines of a list with their annotations, which are below the folder that contains `ImageSets`."""
    base = file.parents[2] if file.parent.name == "Main" else file.parents[1] if file.parent.name == "ImageSets" else folder.root
    inside = [annotation for annotation in folder.annotations if annotation.file.is_relative_to(base)]
    lines = read_lines(file)
    return Listed(lines, Names(inside).read([line for _, line in lines]))


def _of_lists(folder: VocFolder, files: Sequence[Path]) -> Split:
    chosen: dict[Annotation, None] = {}
    faults: list[Fault] = []
    for file in files:
        content, shown = read_list(folder, file), file.relative_to(folder.root).as_posix()
        for (number, line), found in zip(content.lines, content.found, strict=True):
            name = _SUFFIX.sub("", _COLUMNS.sub("", line) if not found else line)
            place = f"{shown} line {number}"
            if not found:
                text = f"is listed in the split, but missing from Annotations ({place})"
                faults.append(Fault(f"Annotations/{name}.xml", text, whole=True, kind="no-annotation"))
            elif len(found) > 1:
                text = f"is listed in the split, but is the name of several files ({place}): {listed([each.key for each in found])}"
                faults.append(Fault(f"Annotations/{name}.xml", text, whole=True, kind="no-annotation"))
            else:
                chosen[found[0]] = None
    return Split(list(chosen), faults, listed=True)


def _parent(key: str) -> str:
    return key.rpartition("/")[0] or "."
