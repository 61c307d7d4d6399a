"""Scheme `lfw:` – one folder per person and a pairs.txt, the format of Labeled Faces in the Wild (Huang et al. 2007)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import Folders, PictureRoot
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.links import check_list
from zoo.data.lists import read_lines, unquoted
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, Flaw, UnknownNameError
from zoo.images import decoding
from zoo.registry import natural_key
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

_NAME = r"(\S+(?:\s+[^\s\d]\S*)*)"  # its words, of which only the first may begin with a digit
_SPACED = re.compile(rf"{_NAME}\s+(\d+)\s+(?:{_NAME}\s+)?(\d+)")
_SEPARATED = re.compile(r"[^,;\t]+([,;]\s*)[^,;\t]+\1[^,;\t]+(\1[^,;\t]+)?[,;\s]*")  # as in a table: person,n,m or person,n,other,m
_FILES = {None: "pairs.txt", "train": "pairsDevTrain.txt", "test": "pairsDevTest.txt"}


@dataclass
class _Pictures:
    """Images listed in the pairs file, in order of first appearance."""

    root: PictureRoot
    walk: Folders
    keys: dict[str, str] = field(default_factory=dict)  # image path without suffix (person/person_0001) → key
    files: dict[str, Path] = field(default_factory=dict)  # key → file
    people: dict[str, str] = field(default_factory=dict)  # key → person
    faults: list[Fault] = field(default_factory=list)

    def key(self, person: str, number: int, file: Path, line: int) -> str:
        """Return the key of an image, and add a fault if the file doesn't exist. LFW's suffix is .jpg, but others are accepted."""
        stem = f"{person}/{person}_{number:04d}"
        if stem in self.keys:
            return self.keys[stem]
        reasons = []
        for name in chain((stem + suffix for suffix in decoding.SUFFIXES), self._others(person, stem)):
            try:
                key, found = self.root.find(name)
            except Flaw as flaw:
                reasons.append(flaw.reason)
                continue
            self.files[key], self.people[key], self.keys[stem] = found, person, key
            return key
        reason = next((reason for reason in reasons if "link" in reason), reasons[0])
        text = f"listed in {file} line {line}: {reason}"
        self.faults.append(Fault(f"{stem}.jpg", text, whole=True, kind="bad-pair", place=f"line {line}"))
        self.keys[stem] = f"{stem}.jpg"
        return self.keys[stem]

    def _others(self, person: str, stem: str) -> Iterator[str]:
        """Yield the images of a person with this name and an unusual suffix or none."""
        folder = Path(self.root.disk.find(self.root.folder / person))
        if folder.parent == self.root.folder and os.path.isdir(folder):  # False for a name that is too long
            names = (picture.name for picture in self.walk.pictures(folder, deep=False))
            yield from (f"{person}/{name}" for name in names if nfc(f"{person}/{name.rpartition('.')[0] or name}") == nfc(stem))


def open_lfw(ref: DataRef, on_error: OnError) -> Dataset:
    """Open the pairs file, whose order and folds define the protocol, and the images that it lists.

    The first line of `pairs.txt` is `folds<TAB>pairs`, or only `pairs` for a single fold. Each fold consists of `pairs` lines `person n m`
    for genuine pairs, followed by `pairs` lines `person n other m` for impostor pairs. `split=train` and `split=test` select
    pairsDevTrain.txt and pairsDevTest.txt. The person folders are next to the pairs file, or in the folder `root=`. The dataset contains
    only images that occur in a pair; use `identities:` to open all images.
    """
    folder = ref.folder()
    if ref.split not in _FILES:
        raise UnknownNameError(f"split of {ref.text!r}:", str(ref.split), [split for split in _FILES if split])
    file = _file(folder, _FILES[ref.split])
    check_list(file, folder)
    lines = read_lines(file)
    faults: list[Fault] = []
    header_line, folds, of_kind = _header(file, lines)
    root = ref.root_folder() or folder
    pictures = _Pictures(PictureRoot(root, ref.links), Folders(root, ref.links))
    found = list(_pairs(file, lines, 2 * of_kind, pictures, faults))
    faults += _misplaced(file, found, of_kind)
    pairs = [pair for _, pair in found if pair is not None]
    if len(lines) != folds * 2 * of_kind:
        expected = f"{folds} × 2 × {of_kind} = {folds * 2 * of_kind}"
        text = f"the header announces {expected} pairs, but {len(lines)} lines follow; without correct folds, no pair can be scored"
        faults.insert(0, Fault(f"{file} line {header_line}", text, kind="bad-pair", place=f"line {header_line}"))
        pairs = []
    people = sorted(set(pictures.people.values()), key=natural_key)
    number = {person: index for index, person in enumerate(people)}
    records = [Record(key, path, number[pictures.people[key]]) for key, path in pictures.files.items()]
    dataset = finish(ref, records, people, [*faults, *pictures.faults], on_error)
    return PairedDataset.of(dataset, pairs, list(pictures.files))


def _file(folder: Path, name: str) -> Path:
    """Return a file of pairs, which may also be saved as CSV."""
    table = (folder / name).with_suffix(".csv")
    return table if table.is_file() and not (folder / name).exists() else folder / name


def _header(file: Path, lines: list[tuple[int, str]]) -> tuple[int, int, int]:
    """Remove the header; return its line number, the number of folds, and the number of pairs of each kind (genuine, impostor) per fold."""
    number, line = lines.pop(0) if lines else (1, "")
    values = [_number(value) for value in re.split(r"[\s,;]+", line.strip(" ,;"))]
    folds, pairs = (1, *values) if len(values) == 1 else values if len(values) == 2 else (None, None)
    if not folds or not pairs:
        raise DataError(f"{file} line {number} is {line[:60]!r}; expected the numbers of folds and of pairs of each kind, such as 10 300")
    return number, folds, pairs


def _pairs(
    file: Path, lines: list[tuple[int, str]], per_fold: int, pictures: _Pictures, faults: list[Fault]
) -> Iterator[tuple[int, Pair | None]]:
    """Yield the line number and the pair of each line. For an invalid line, add a fault and yield None as its pair."""
    first_at: dict[frozenset[str], int] = {}
    for index, (line_number, line) in enumerate(lines):
        pair = None
        try:
            people, numbers, same = _parsed(line)
            keys = [pictures.key(person, n, file, line_number) for person, n in zip(people, numbers, strict=True)]
            earlier = first_at.setdefault(frozenset(keys), line_number)
            if earlier != line_number:
                raise Flaw(f"{line[:80]!r} repeats the pair of line {earlier}, which would be counted twice", "bad-pair")
            pair = Pair(keys[0], keys[1], same, index // per_fold)
        except Flaw as flaw:
            faults.append(flaw.at(f"{file} line {line_number}", f"line {line_number}"))
        yield line_number, pair


def _parsed(line: str) -> tuple[tuple[str, str], tuple[int, int], bool]:
    """Return the two people, the indices of their images, and whether they are the same person.

    Raises:
        Flaw: the line is invalid.
    """
    short = len(line) < 1000
    cells = re.sub(r"\s*[,;]\s*", "\t", line.rstrip(" ,;")) if short and _SEPARATED.fullmatch(line) else line
    found = _SPACED.fullmatch(cells) if "\t" not in cells and short else None
    values = [value for value in found.groups() if value] if found else cells.split("\t") if "\t" in cells else cells.split()
    values = [unquoted(value.strip()) for value in values]
    same = len(values) == 3
    first, second = (_number(value) for value in (values[1:] if same else values[1:4:2])) if len(values) in (3, 4) else (None, None)
    if first is None or second is None or not line.replace("\t", " ").isprintable():
        raise Flaw(f"the pair is {line[:80]!r}; expected person n m, or person n other m", "bad-pair")
    people = (nfc(values[0]), nfc(values[0] if same else values[2]))
    if (people[0] == people[1]) != same or (same and first == second):
        raise Flaw(f"the pair is {line[:80]!r}; expected two images of one person, or one image each of two people", "bad-pair")
    return people, (first, second), same


def _misplaced(file: Path, found: list[tuple[int, Pair | None]], of_kind: int) -> Iterator[Fault]:
    """Yield a fault for the first pair of each fold that is of the wrong kind for its position, as after a missing line."""
    for start in range(0, len(found), 2 * of_kind):
        for place, (line, pair) in enumerate(found[start : start + 2 * of_kind]):
            if pair is not None and pair.same != (place < of_kind):
                kinds = ("one person", "two people") if pair.same else ("two people", "one person")
                text = (
                    f"the pair shows {kinds[0]}, but fold {start // (2 * of_kind) + 1} needs {kinds[1]} here: each fold has "
                    f"{of_kind} pairs of one person, then {of_kind} of two people; check for a missing or extra line above"
                )
                yield Fault(f"{file} line {line}", text, kind="bad-pair", place=f"line {line}")
                break


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 8 else None


def _recognise(folder: Path) -> str | None:
    found = [file for name in _FILES.values() if (file := _file(folder, name)).is_file()]
    return f"it contains {found[0].name}" if found else None


SCHEMES.add("lfw", Scheme("lfw", open_lfw, _recognise, options=("root",)))
