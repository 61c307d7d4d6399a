"""`lfw:` – a folder per person and pairs.txt, as Labeled Faces in the Wild has them (Huang et al. 2007)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import PictureRoot
from zoo.data.formats import Scheme, finish, keep_labelled
from zoo.data.reference import DataRef
from zoo.errors import DataError, Fault, Flaw, UnknownNameError
from zoo.images import decoding as images
from zoo.registry import natural_key
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

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
    header_line = lines[0][0] if lines else 1
    folds, of_kind = _header(file, lines)
    pictures = _Pictures(PictureRoot(ref.root_folder() or folder))
    found = list(_pairs(file, lines, 2 * of_kind, pictures, faults))
    faults += _misplaced(file, found, of_kind)
    pairs = [pair for _, pair in found if pair is not None]
    if len(lines) != folds * 2 * of_kind:
        expected = f"{folds} × 2 × {of_kind} = {folds * 2 * of_kind}"
        text = f"announces {expected} pairs, but {len(lines)} follow; nobody knows where a fold ends, and no pair can be scored"
        faults.insert(0, Fault(f"{file} line {header_line}", text, kind="bad-pair", place=f"line {header_line}"))
        pairs = []
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


def _header(file: Path, lines: list[tuple[int, str]]) -> tuple[int, int]:
    """Take the header off the lines and return how many folds there are, and how many pairs of each kind each has."""
    number, line = lines.pop(0) if lines else (1, "")
    values = [_number(value) for value in line.split()]
    folds, pairs = (1, *values) if len(values) == 1 else values if len(values) == 2 else (None, None)
    if not folds or not pairs:
        raise DataError(f"{file} line {number}: is {line[:60]!r}; expected the number of folds and of pairs of each kind, such as 10 300")
    return folds, pairs


def _pairs(
    file: Path, lines: list[tuple[int, str]], per_fold: int, pictures: _Pictures, faults: list[Fault]
) -> Iterator[tuple[int, Pair | None]]:
    """Yield the number of each line with its pair; None where it is faulty."""
    first_at: dict[frozenset[str], int] = {}
    for index, (line_number, line) in enumerate(lines):
        pair = None
        try:
            people, numbers, same = _parsed(line)
            keys = [pictures.key(person, n, file, line_number) for person, n in zip(people, numbers, strict=True)]
            earlier = first_at.setdefault(frozenset(keys), line_number)
            if earlier != line_number:
                raise Flaw(f"is {line[:80]!r}: the pair of line {earlier} again, which would count twice", "bad-pair")
            pair = Pair(keys[0], keys[1], same, index // per_fold)
        except Flaw as flaw:
            faults.append(flaw.at(f"{file} line {line_number}", f"line {line_number}"))
        yield line_number, pair


def _parsed(line: str) -> tuple[tuple[str, str], tuple[int, int], bool]:
    """Return the people, the numbers of their pictures, and whether it is one person.

    Raises:
        Flaw: another form, or a pair that makes no sense.
    """
    # names may contain spaces where tabs separate
    values = [value.strip() for value in line.split("\t")] if "\t" in line else line.split()
    same = len(values) == 3
    first, second = (_number(value) for value in (values[1:] if same else values[1:4:2])) if len(values) in (3, 4) else (None, None)
    if first is None or second is None or not line.replace("\t", " ").isprintable():
        raise Flaw(f"is {line[:80]!r}; expected person n m, or person n other m", "bad-pair")
    people = (values[0], values[0] if same else values[2])
    if (people[0] == people[1]) != same or (same and first == second):
        raise Flaw(f"is {line[:80]!r}; expected two pictures of one person, or one each of two", "bad-pair")
    return people, (first, second), same


def _misplaced(file: Path, found: list[tuple[int, Pair | None]], of_kind: int) -> Iterator[Fault]:
    """Yield the first line of each fold that is of the wrong kind for its place: where a fold lacks a line, all after it are shifted."""
    for start in range(0, len(found), 2 * of_kind):
        for place, (line, pair) in enumerate(found[start : start + 2 * of_kind]):
            if pair is not None and pair.same != (place < of_kind):
                kinds = ("one person", "two people") if pair.same else ("two people", "one person")
                text = (
                    f"is a pair of {kinds[0]} where fold {start // (2 * of_kind) + 1} should have one of {kinds[1]}: each fold has "
                    f"{of_kind} pairs of one person and then {of_kind} of two; is a line missing above, or too much?"
                )
                yield Fault(f"{file} line {line}", text, kind="bad-pair", place=f"line {line}")
                break


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 8 else None


def _recognise(folder: Path) -> str | None:
    found = [name for name in _FILES.values() if (folder / name).is_file()]
    return f"it has a {found[0]}" if found else None


SCHEMES.add("lfw", Scheme("lfw", open_lfw, _recognise, options=("root",)))
