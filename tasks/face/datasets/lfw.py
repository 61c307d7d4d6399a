"""`lfw:` – a folder per person and pairs.txt, as Labeled Faces in the Wild has them (Huang et al. 2007)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zoo import images
from zoo.data import Dataset, OnError, Record
from zoo.data_ref import DataRef
from zoo.errors import DataError, Fault, Flaw, UnknownNameError
from zoo.picture_root import PictureRoot
from zoo.registry import natural_key
from zoo.schemes import Scheme, finish, keep_labelled
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.pairs import Pair, PairedDataset

_FILES = {None: "pairs.txt", "train": "pairsDevTrain.txt", "test": "pairsDevTest.txt"}


@dataclass
class _Pictures:
    """The pictures that the pairs name, in the order in which they first appear.

    Attributes:
        root: the folder of the people's folders.
        keys: person and number, as a path without its suffix, to key.
        files: key to file, of those that were found.
        people: key to person, of those that were found.
        faults: of those that were not.
    """

    root: PictureRoot
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def key(self, person: str, number: int, file: Path, line: int) -> str:
        """Return the key of a person's picture, found or not; its suffix is .jpg in LFW and may be another.

        Args:
            person: whose it is.
            number: which of that person's.
            file: what names it, for messages.
            line: of the file, likewise.
        """
        stem = f"{person}/{person}_{number:04d}"
        if stem not in self.keys:
            self.keys[stem] = self._find(stem, person, f"{file} line {line}", f"line {line}")
        return self.keys[stem]

    def _find(self, stem: str, person: str, named_by: str, place: str) -> str:
        reasons = []
        for suffix in images.SUFFIXES:
            try:
                key, file = self.root.find(stem + suffix)
            except Flaw as flaw:
                reasons.append(flaw.reason)
                continue
            self.files[key], self.people[key] = file, person
            return key
        self.faults.append(Fault(f"{stem}.jpg", f"named by {named_by}: {reasons[0]}", whole=True, kind="bad-pair", place=place))
        return f"{stem}.jpg"


def open_lfw(ref: DataRef, on_error: OnError) -> Dataset:
    """Read the pairs, which are the protocol with their order and folds, and the pictures that they name.

    `pairs.txt` begins with `folds<TAB>pairs` or `pairs` alone (one fold); each fold has so many lines `person n m` and then so many
    `person n other m`. `split=train` and `split=test` take pairsDevTrain.txt and pairsDevTest.txt. People's folders stand beside it, or
    in `root=`. Pictures that no pair names are not part of it; `identities:` reads them all.

    Raises:
        DataError: no such file or a wrong header, or faults: wrong lines, pictures that are missing.
        UnknownNameError: another split.
    """
    folder = ref.folder()
    if ref.split not in _FILES:
        raise UnknownNameError(f"split of {ref.text!r}:", str(ref.split), [split for split in _FILES if split])
    file = folder / _FILES[ref.split]
    lines = _lines(file)
    faults: list[Fault] = []
    per_fold = 2 * _header(file, lines, faults)
    pictures = _Pictures(PictureRoot(ref.root_folder() or folder))
    pairs = list(_pairs(file, lines, per_fold, pictures, faults))
    people = sorted(set(pictures.people.values()), key=natural_key)
    number = {person: index for index, person in enumerate(people)}
    records = [Record(key, path, number[pictures.people[key]]) for key, path in pictures.files.items()]
    dataset = finish(ref, records, people, [*faults, *pictures.faults], on_error, keep_labelled)
    return PairedDataset.of(dataset, pairs, list(pictures.files))


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that aren't empty, with their numbers."""
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is no UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror}") from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _header(file: Path, lines: list[tuple[int, str]], faults: list[Fault]) -> int:
    """Take the header off the lines and return how many pairs of each kind a fold has."""
    number, line = lines.pop(0) if lines else (1, "")
    values = [_number(value) for value in line.split()]
    folds, pairs = (1, *values) if len(values) == 1 else values if len(values) == 2 else (None, None)
    if not folds or not pairs:
        raise DataError(f"{file} line {number}: is {line[:60]!r}; expected the number of folds and of pairs of each kind, such as 10 300")
    if len(lines) != folds * 2 * pairs:
        expected = f"{folds} × 2 × {pairs} = {folds * 2 * pairs}"
        faults.append(_fault(file, number, f"announces {expected} pairs, but {len(lines)} follow"))
    return pairs


def _pairs(file: Path, lines: list[tuple[int, str]], per_fold: int, pictures: _Pictures, faults: list[Fault]) -> Iterator[Pair]:
    for index, (line_number, line) in enumerate(lines):
        # names may contain spaces where tabs separate
        values = [value.strip() for value in line.split("\t")] if "\t" in line else line.split()
        same = len(values) == 3
        people, numbers = ((values[0], values[0]), values[1:]) if same else (tuple(values[0:3:2]), values[1:4:2])
        first, second = (_number(value) for value in numbers) if len(values) in (3, 4) else (None, None)
        if first is None or second is None:
            faults.append(_fault(file, line_number, f"is {line[:80]!r}; expected person n m, or person n other m"))
        elif (people[0] == people[1]) != same or (same and first == second):
            faults.append(_fault(file, line_number, f"is {line[:80]!r}; expected two pictures of one person, or one each of two"))
        else:
            keys = [pictures.key(person, n, file, line_number) for person, n in zip(people, (first, second), strict=True)]
            yield Pair(keys[0], keys[1], same, index // per_fold)


def _fault(file: Path, line: int, reason: str) -> Fault:
    return Fault(f"{file} line {line}", reason, kind="bad-pair", place=f"line {line}")


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 8 else None


def _recognise(folder: Path) -> str | None:
    found = [name for name in _FILES.values() if (folder / name).is_file()]
    return f"it has a {found[0]}" if found else None


SCHEMES.add("lfw", Scheme("lfw", open_lfw, _recognise, options=("root",)))
