"""Folders of VOC annotation files: the standard folders, XML beside images, and parallel folders; with the image of each annotation."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from xml.etree.ElementTree import Element

from zoo.data.folders import Folders, PictureRoot, is_picture, listed
from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.data.splits import split_kind
from zoo.data.voc.parsing import is_annotation_file, parse
from zoo.errors import Flaw
from zoo.images import decoding

ANNOTATIONS = re.compile(r"annotations?|annos?|anns?|xmls?|labels?|bbox(es)?|bndbox(es)?", re.IGNORECASE)
PICTURES = re.compile(r"jpegimages|(images?|imgs?|pictures?|pics?|photos?|frames?|jpe?gs?)([ _-]?(set|files))?", re.IGNORECASE)
_OTHERS = re.compile(
    r"segmentation.*|.*masks?|trimaps?|imagesets|.*thumb(nail)?s?", re.IGNORECASE
)  # they may contain images, but no photos
_LOOKED = 60  # folders, and XML files of each, in which a dataset is recognised


@dataclass(eq=False)
class Annotation:
    """An annotation file.

    Attributes:
        file: path of the file.
        key: its path relative to the dataset folder.
        tree: its content; None if it can't be read.
        picture: its image file; None if there is none.
        flaw: why there is no content or no image.
    """

    file: Path
    key: str
    tree: Element | None = None
    picture: Path | None = None
    flaw: Flaw | None = None

    @property
    def split(self) -> str | None:
        """Name of the folder that is a split and contains the file; None if there is none."""
        return folder_split(self.key)

    @property
    def stem(self) -> str:
        """Name of the file without its suffix."""
        return nfc(self.file.stem)

    @property
    def file_name(self) -> str:
        """File name of the image as written in the annotation, by default the annotation's own name."""
        return text(self.tree, "filename") or self.file.stem if self.tree is not None else self.file.stem


def folder_split(key: str) -> str | None:
    """Return the first folder of a path that has the name of a split; None if there is none."""
    return next((part for part in key.split("/")[:-1] if split_kind(part)), None)


def text(element: Element, path: str) -> str:
    """Return the stripped text of an element; "" if it doesn't exist."""
    return (element.findtext(path) or "").strip()


@dataclass
class VocFolder:
    """All annotations of a dataset folder, in the order of their paths.

    They are in a folder `Annotations` or of a similar name, or anywhere below the dataset folder, beside the images or in parallel folders.
    An annotation's image is named by `<filename>`. If that is the name before both files were renamed, the image of the annotation's own
    name is used, and a note reports this.
    """

    root: Path
    rule: str = "own"
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.walk = Folders(self.root, self.rule, ".xml")
        self._source = PictureRoot(self.root, self.rule)
        self._listings: dict[Path, _Listing] = {}
        self._places: dict[Path, list[Path]] = {}
        self.annotations = [Annotation(file, file.relative_to(self.root).as_posix()) for file in annotation_files(self.walk)]
        for annotation in self.annotations:
            try:
                annotation.tree = parse(self._source.find(annotation.key, annotation=True)[1].read_bytes())
            except OSError as error:
                annotation.flaw = Flaw(f"can't be read: {error.strerror}")
            except Flaw as flaw:
                annotation.flaw = flaw
        self._assign([annotation for annotation in self.annotations if annotation.tree is not None])
        if left := self._outside():
            self.notes.append(f"annotation files outside the folder of annotations, ignored: {listed(left)}")

    def without_annotation(self, chosen: Sequence[Annotation]) -> list[str]:
        """Return the keys of the images that are in the same folders as those of the chosen annotations, but have no annotation."""
        used = {annotation.picture for annotation in self.annotations}
        places = dict.fromkeys(annotation.picture.parent for annotation in chosen if annotation.picture is not None)
        beside = (picture for place in places for picture in self._listing(place).names.values())
        return [picture.relative_to(self.root).as_posix() for picture in beside if picture not in used]

    def _outside(self) -> list[str]:
        """Return the keys of the annotation files below the dataset folder that aren't read, because a folder of annotations is."""
        read = {os.fspath(annotation.file) for annotation in self.annotations}
        found = Folders(self.root, self.rule).files(self.root) if read else ()
        left = [file for file in found if _is_xml(file) and file not in read and is_annotation_file(file)]
        real = set(map(os.path.realpath, read)) if left else set()  # a linked folder has two paths
        return sorted(Path(file).relative_to(self.root).as_posix() for file in left if os.path.realpath(file) not in real)

    def _assign(self, annotations: Sequence[Annotation]) -> None:
        """Find the image of each annotation: by its `<filename>`, or by its own name where that is the better evidence."""
        named = {annotation: self._by_file_name(annotation) for annotation in annotations}
        own = {annotation: self._by_own_name(annotation, named[annotation]) for annotation in annotations}
        claims = Counter(picture for picture in named.values() if picture is not None)
        owners = {picture: annotation for annotation, picture in own.items() if picture is not None}
        sound = None not in named.values() and claims.total() == len(claims)
        stale, doubtful = [], []
        for annotation in annotations:
            first, second = named[annotation], own[annotation]
            annotation.picture = first or second
            if first is None or second in (None, first):
                stale += [annotation] * (first is None and second is not None)
            elif sound:
                doubtful += [annotation] * (second not in claims)
            elif claims[first] > 1 or owners.get(first, annotation) is not annotation:
                annotation.picture = second
                stale.append(annotation)
            if annotation.picture is None:
                annotation.flaw = self._missing(annotation)
        self._refuse_second(annotations)
        if stale:
            self.notes.append(f"annotations whose <filename> is another name, read with the image of their own name: {_shown(stale)}")
        if doubtful:
            self.notes.append(
                f"annotations read with the image of their <filename>, although one of their own name exists: {_shown(doubtful)}"
            )

    def _refuse_second(self, annotations: Sequence[Annotation]) -> None:
        """Assign each image to the annotation of the same name, or else to the first that refers to it."""
        holders: dict[Path, Annotation] = {}
        for annotation in sorted(annotations, key=lambda each: each.picture is None or nfc(each.picture.stem) != each.stem):
            if annotation.picture is not None and holders.setdefault(annotation.picture, annotation) is not annotation:
                key = annotation.picture.relative_to(self.root).as_posix()
                annotation.flaw = Flaw(f"refers to the image {key}, which another annotation already uses", "repeated-id")
                annotation.picture = None

    def _by_file_name(self, annotation: Annotation) -> Path | None:
        """Return the image that an annotation names; for a path on another computer, by its longest existing trailing part."""
        assert annotation.tree is not None
        written, path = annotation.file_name, text(annotation.tree, "path")
        longer = [f"{text(annotation.tree, 'folder')}/{written}", path if tails(path)[-1:] == tails(written)[-1:] else ""]
        for name in (end for names in (written, *longer) for end in tails(names)):
            parent, _, last = nfc(name).rpartition("/")
            for place in self._candidates(annotation.file.parent):
                listing = self._listing(place / parent)
                if found := listing.names.get(last) or listing.first(last):
                    return found
        return None

    def _by_own_name(self, annotation: Annotation, named: Path | None) -> Path | None:
        """Return the image with the annotation's own name; None if there is none, or several in one folder."""
        if named is not None and nfc(named.stem) == annotation.stem:
            return named
        suffix = os.path.splitext(annotation.file_name)[1].lower()
        for place in self._candidates(annotation.file.parent):
            found = self._listing(place).stems.get(annotation.stem, [])
            if len(found) > 1:
                found = [picture for picture in found if picture.suffix.lower() == suffix]
            if found:
                return found[0] if len(found) == 1 else None
        return None

    def _missing(self, annotation: Annotation) -> Flaw:
        places = [place.relative_to(self.root) for place in self._candidates(annotation.file.parent)]
        shown, name = [place.as_posix() for place in places], annotation.file_name
        if not tails(name):
            return Flaw(f"filename is {name!r}; expected the name of an image")
        also = f"; searched in {', '.join(shown)}" if len(shown) > 1 else ""
        several = any(annotation.stem in self._listing(self.root / place).stems for place in places)
        same = f", and {'there are several' if several else 'so is one'} named {annotation.stem}"
        own = "" if nfc(name).startswith(f"{annotation.stem}.") and not several else same
        return Flaw(f"its image {name if shown[0] == '.' else f'{shown[0]}/{name}'} is missing{own}{also}", "no-picture")

    def _candidates(self, place: Path) -> list[Path]:
        """Return the folders that may contain the images of the annotations in a folder, the likeliest first."""
        if place not in self._places:
            parts = place.relative_to(self.root).parts
            beside = bool(self._listing(place).names)
            parallel: list[Path] = []
            for guess, depth in product((False, True)[: 1 if beside else 2], range(len(parts), -1, -1)):
                above, inner = parts[:depth], parts[depth:]
                if guess and any(map(ANNOTATIONS.fullmatch, above)):
                    continue
                found = self._picture_folders(self.root.joinpath(*above), inner[:1], guess)
                parallel = [folder.joinpath(*tail) for folder in found for tail in (inner[1:], inner, ())]
                if parallel and guess:
                    name = "/".join(parts) or "."
                    self.notes.append(f"images of the annotations in {name}: taken from {found[0].relative_to(self.root).as_posix()}")
                if parallel:
                    break
            outer = [] if beside else [self.root.joinpath(*parts[:depth]) for depth in range(len(parts) - 1, -1, -1)]
            apart = any(map(ANNOTATIONS.fullmatch, parts))
            order = [*parallel, place, *outer] if apart else [place, *parallel, *outer]
            self._places[place] = [folder for folder in dict.fromkeys(order) if self._listing(folder).names] or order[:1]
        return self._places[place]

    def _picture_folders(self, base: Path, without: Sequence[str], guess: bool) -> list[Path]:
        """Return the folders directly inside a folder that have the usual names, or as a `guess` the only one that contains images."""
        folders = self.walk.subfolders(base)
        if not guess:
            named = [folder for folder in folders if PICTURES.fullmatch(folder.name)]
            return sorted(named, key=lambda folder: folder.name != "JPEGImages")
        others = [folder for folder in folders if folder.name not in without and not split_kind(folder.name)]
        photos = [folder for folder in others if not _OTHERS.fullmatch(folder.name) and not ANNOTATIONS.fullmatch(folder.name)]
        holding = [folder for folder in photos if any(map(is_picture, self.walk.files(folder)))]
        return holding if len(holding) == 1 else []

    def _listing(self, folder: Path) -> _Listing:
        if folder not in self._listings:
            place = Path(self._source.disk.find(folder))
            self._listings[folder] = _Listing(self.walk.pictures(place, deep=False) if os.path.isdir(place) else [])
        return self._listings[folder]


class _Listing:
    """The images of a folder, by name and by name without suffix."""

    def __init__(self, pictures: Sequence[Path]) -> None:
        self.names = {nfc(picture.name): picture for picture in pictures}
        self.stems: dict[str, list[Path]] = {}
        for picture in pictures:
            self.stems.setdefault(nfc(picture.stem), []).append(picture)

    def first(self, stem: str) -> Path | None:
        """Return the image of a name without suffix, which some tools omit; of several, the one with the most usual suffix."""
        return next((found for suffix in decoding.SUFFIXES if (found := self.names.get(stem + suffix)) is not None), None)


def annotation_files(walk: Folders) -> list[Path]:
    """Return all XML files of a dataset's folder of annotations, or of the dataset folder if there is no such folder."""
    named = [folder for folder in walk.subfolders(walk.root) if ANNOTATIONS.fullmatch(folder.name)]
    standard = [folder for folder in named if folder.name == "Annotations"]
    for places in (standard, named, [walk.root]):
        if found := [Path(file) for place in places for file in walk.files(place) if _is_xml(file)]:
            return sorted(found)
    return []


def find_annotation(root: Path) -> Path | None:
    """Return a VOC annotation file in a folder or its subfolders, of which the first are searched; None if there is none."""
    walk, level, looked = Folders(root), [root], 0
    while level and looked < _LOOKED:
        level = sorted(level, key=lambda folder: (not any(map(ANNOTATIONS.fullmatch, folder.relative_to(root).parts)), folder))
        level = level[: _LOOKED - looked]
        looked += len(level)
        for folder in level:
            files = islice(filter(_is_xml, walk.files(folder, deep=False)), _LOOKED)
            if found := next(filter(is_annotation_file, files), None):
                return Path(found)
        level = [inner for folder in level for inner in walk.subfolders(folder)]
    return None


def recognise(path: Path) -> str | None:
    """Return why a folder is recognised as a VOC dataset, or None if it isn't."""
    found = find_annotation(path)
    return f"it contains {found.relative_to(path).as_posix()}" if found else None


def _is_xml(file: str) -> bool:
    name = os.path.basename(file)
    return name.lower().endswith(".xml") and not name.startswith(".")


def _shown(annotations: Sequence[Annotation]) -> str:
    return listed([f"{annotation.key} ({annotation.file_name})" for annotation in annotations])
