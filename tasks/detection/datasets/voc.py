"""The `voc:` format: a folder in the layout of PASCAL VOC, with Annotations, JPEGImages and ImageSets/Main."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Box, DataError, Fault, Flaw, ImageError, InputError
from zoo.images import decoding
from zoo.tasks.detection.data.targets import Labelled, area_of, checked_box, keep_classes, safe_name, target_of
from zoo.tasks.detection.datasets import SCHEMES

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_PIXELS = re.compile(r"[1-9]\d{0,8}")


def open_voc(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a dataset in the layout of PASCAL VOC.

    `split=` names a list in ImageSets/Main; without it, all annotations are read. Box coordinates are used as written, in pixels: 1 is not
    subtracted, although PASCAL's original files count pixels from 1. The classes are all names in the Annotations folder, sorted, or in
    the order of a `classes.txt`. They are the same for all splits. Objects marked as difficult are kept with this mark: they are excluded
    from training, and evaluation counts them neither as found nor as missed. An image's key is its path in the dataset's folder. The
    elements `iscrowd` and `area`, which VOC doesn't define, have the same meaning as in COCO.
    """
    root = ref.folder()
    folder = root / "Annotations"
    if not folder.is_dir():
        raise DataError(f"data {ref.text!r}: {root} has no folder Annotations; expected VOC's Annotations, JPEGImages and ImageSets/Main")
    reader = _Reader(root, {file.stem: file for file in sorted(folder.glob("*.xml"))})
    records = reader.records(list(reader.files) if ref.split is None else _listed(ref, root, ref.split))
    return finish(ref, records, reader.classes, reader.faults, on_error, keep_classes)


def recognise(path: Path) -> str | None:
    """Return why a folder is recognised as a VOC dataset, or None if it isn't."""
    annotations = path / "Annotations"
    return "it contains Annotations/*.xml" if annotations.is_dir() and next(annotations.glob("*.xml"), None) else None


def _listed(ref: DataRef, root: Path, split: str) -> list[str]:
    folder = root / "ImageSets" / "Main"
    known = sorted(file.stem for file in folder.glob("*.txt"))
    if split not in known:
        raise InputError(f"data {ref.text!r}: no split {split!r}; the lists in {folder} are: {', '.join(known) or 'none'}")
    try:
        lines = (folder / f"{split}.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data {ref.text!r}: {folder / f'{split}.txt'} can't be read ({error})") from error
    # VOC's lists for single classes have a second column, 1 or -1
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


@dataclass
class _Reader:
    """Reader that converts annotation files to records and collects annotation errors."""

    root: Path
    files: dict[str, Path]
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Parse all annotation files, even those outside the selected split, because the class list covers the whole dataset."""
        self.trees = {stem: tree for stem, file in self.files.items() if (tree := self._parse(file)) is not None}
        names = (_text(entry, "name") for tree in self.trees.values() for entry in tree.iter("object"))
        self.classes = in_order(sorted({name for name in names if name}), self.root)
        self.label = {name: index for index, name in enumerate(self.classes)}

    def records(self, stems: list[str]) -> list[Record]:
        """Return one record for each of the named annotation files that is valid."""
        records: dict[str, Record] = {}
        for stem in stems:
            if stem not in self.files:
                self._fault(f"{stem}.xml", "is listed in the split, but missing from Annotations", "no-annotation")
            elif stem in self.trees:
                record = self._record(stem, self.trees[stem])
                if record is not None and record.key in records:
                    self._fault(f"{stem}.xml", f"refers to the image {record.key}, which another annotation already uses", "repeated-id")
                elif record is not None:
                    records[record.key] = record
        return list(records.values())

    def _parse(self, file: Path) -> Element | None:
        try:
            return fromstring(file.read_bytes())  # type: ignore[no-any-return]  # defusedxml is untyped
        except (ParseError, DefusedXmlException, OSError, ValueError, LookupError) as error:
            self._fault(file.name, f"can't be read as XML ({str(error) or type(error).__name__})", "annotation")
            return None

    def _record(self, stem: str, tree: Element) -> Record | None:
        path = self._locate(stem, _text(tree, "filename") or stem)
        if path is None:
            return None
        try:
            size_hw = _size(tree) or decoding.size(path)
        except ImageError as error:
            self._fault(f"{stem}.xml", f"its image {path.name} {error.reason}", error.kind)
            return None
        return Record(path.relative_to(self.root).as_posix(), path, target_of(list(self._objects(stem, tree, size_hw))), size_hw)

    def _locate(self, stem: str, name: str) -> Path | None:
        """Return the image file, or None if it is missing. The suffix may be missing from `name`, because some tools omit it."""
        if not safe_name(name):
            self._fault(f"{stem}.xml", f"filename is {name!r}; expected a name inside JPEGImages", "annotation")
            return None
        folder = self.root / "JPEGImages"
        for candidate in (name, *(name + suffix for suffix in decoding.SUFFIXES)):
            if os.path.isfile(folder / candidate):  # unlike Path.is_file, returns False for a name that is too long
                return folder / candidate
        self._fault(f"{stem}.xml", f"its image JPEGImages/{name} is missing", "no-picture")
        return None

    def _objects(self, stem: str, tree: Element, size_hw: tuple[int, int]) -> Iterator[Labelled]:
        """Yield every valid object."""
        for number, entry in enumerate(tree.iter("object"), start=1):
            name = _text(entry, "name")
            try:
                # VOC's original files have no areas; `zoo data convert` writes the areas of masks
                box, area = _box(entry, name, size_hw), area_of(_text(entry, "area"))
            except Flaw as flaw:
                place = f"object {number}"
                self.faults.append(flaw.at(f"Annotations/{stem}.xml", place, before=f"{place} ({name or '?'}): "))
            else:
                yield box, self.label[name], _text(entry, "iscrowd") == "1", _text(entry, "difficult") == "1", area

    def _fault(self, name: str, reason: str, kind: str) -> None:
        """Record an annotation error because of which a whole sample is dropped."""
        self.faults.append(Fault(f"Annotations/{name}", reason, whole=True, kind=kind))


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _size(tree: Element) -> tuple[int, int] | None:
    """Return height and width from an annotation, or None if they are missing or 0, as some tools write them."""
    height, width = _text(tree, "size/height"), _text(tree, "size/width")
    return (int(height), int(width)) if _PIXELS.fullmatch(height) and _PIXELS.fullmatch(width) else None


def _box(entry: Element, name: str, size_hw: tuple[int, int]) -> Box:
    if not name:
        raise Flaw("the object has no name", "unknown-label")
    texts = [_text(entry, f"bndbox/{side}") for side in _SIDES]
    try:
        sides = [float(text) for text in texts]
    except ValueError:
        shown = ", ".join(f"{side}={text!r}" for side, text in zip(_SIDES, texts, strict=True))
        raise Flaw(f"bndbox is {shown}; expected four numbers") from None
    return checked_box(sides, size_hw)


SCHEMES.add("voc", Scheme("voc", open_voc, recognise))
