"""Where the images of a YOLO dataset are: folders and lists that its description names, even if they were moved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from zoo.data.folders import Folders, PictureRoot, is_picture
from zoo.data.formats import DataRef
from zoo.data.lists import read_lines
from zoo.data.moved import MovedFiles, tails
from zoo.data.splits import split_kind
from zoo.data.voc.folder import PICTURES
from zoo.errors import DataError, Flaw
from zoo.images import decoding
from zoo.tasks.detection.data.yolo.description import Description

_LOOKED = 10_000  # files in which an image is searched for, in a folder outside that of the description


@dataclass
class Places:
    """Dataset folder, and the folders of images, or `.txt` lists of images, of the requested split."""

    root: PictureRoot
    sources: tuple[Path, ...]
    notes: list[str] = field(default_factory=list)


def find_places(ref: DataRef, about: Description, split: str) -> Places:
    """Return the folder of a dataset, and the places of the images of a split.

    A `path` in the description is relative to the folder of the file, or, as in Ultralytics, to the current folder. If it is a path of
    another computer, its ends are tried, and the folder of the file. Folders outside that of the file are used as links are, by the rule
    `links=` (see `Links`): by default, if this user owns the file.
    """
    own, given = about.file.parent, ref.root_folder()
    trusted = _is_trusted(ref, about.file)
    refused = False
    for folder in _candidates(about) if given is None else [given]:
        inside = given is not None or PictureRoot(own).holds(folder)
        if not folder.is_dir():
            continue
        if not inside and not trusted:
            refused = True
            continue
        folder = folder if inside else folder.resolve()
        root, moved = PictureRoot(folder, ref.links), list[str]()
        sources = [_source(root, own, text, moved) for text in about.entries[split]]
        if None not in sources and (inside or not any(source and own.resolve().is_relative_to(source) for source in sources)):
            if given is None and about.path and not (inside and os.path.normpath(folder) == os.path.normpath(own / about.path)):
                moved.insert(0, f"path in {about.file.name} is {about.path!r}; the dataset folder is {folder}")
            return _of_lists(ref, about.file, Places(root, tuple(source for source in sources if source), moved))
    return _outside(ref, about, split, refused)


def root_of_list(ref: DataRef, file: Path) -> tuple[Path, list[str]]:
    """Return the dataset folder of a list of images, and notes: the nearest folder above the list that contains the first image."""
    own = PictureRoot(file.parent, ref.links)
    first = next((line for _, line in read_lines(file)), "")
    if not _contains(own, first):
        places = _of_lists(ref, file, Places(own, (file,)))
        if places.notes or os.path.isabs(first):
            return places.root.folder, places.notes
        for folder in list(file.absolute().parent.parents)[:2]:
            if folder != Path(folder.anchor) and _contains(PictureRoot(folder, ref.links), first):
                return folder, [f"the images in {file.name} are relative to {folder}"]
    return file.parent, []


def _contains(root: PictureRoot, text: str) -> bool:
    try:
        return bool(root.find(text))
    except Flaw:
        pass
    try:
        return MovedFiles([root.folder], root).find(text) is not None
    except Flaw:  # a link that isn't followed, which the reader reports
        return True


def _candidates(about: Description) -> Iterator[Path]:
    own = about.file.parent
    yield own / about.path
    if about.path:
        if not os.path.isabs(about.path):
            yield Path.cwd() / about.path
            yield own.parent / about.path
        yield from (own / tail for tail in tails(about.path))
        yield own


def _source(root: PictureRoot, own: Path, text: str, moved: list[str]) -> Path | None:
    """Return the image folder or image list that an entry names, or None; a path on another computer is added to `moved`.

    Roboflow's exports contain `../train/images` for a folder next to `data.yaml`. Like Ultralytics, remove `../` if no such path exists.
    """
    bases = dict.fromkeys((root.folder, own))  # with root=, the entries may be relative to the file, as without it
    for path in (base / candidate for base in bases for candidate in (text, text.removeprefix("../"))):
        if found := _existing(path, root, own):
            return found
    for tail in tails(text):
        for base in bases:
            if found := _existing(base / tail, root, own):
                moved.append(f"{text} is read as {found}")
                return found
        if split_kind(tail.partition("/")[0]):  # without the name of the split, it would be another one
            break
    return None


def _existing(path: Path, root: PictureRoot, own: Path) -> Path | None:
    try:
        if root.holds(path) and (path.is_dir() or is_list(path)):
            return root.spelt(path)
        return path if is_list(path) and PictureRoot(own).holds(path) else None
    except (OSError, ValueError):  # the name is too long
        return None


def is_list(path: Path) -> bool:
    """Return whether a path is a list of images."""
    return path.suffix.lower() == ".txt" and path.is_file()


def lists_images(file: Path) -> bool:
    """Return whether the first line of a text file is the path of an image."""
    try:
        return is_list(file) and next((line for _, line in read_lines(file)), "").lower().endswith(decoding.SUFFIXES)
    except DataError:
        return False


def _outside(ref: DataRef, about: Description, split: str, refused: bool) -> Places:
    """Return the places of a split whose entries are outside the folder of the description; raise a `DataError` if there are none."""
    own, file = about.file.parent, about.file
    found = {text: own / about.path / text for texts in about.entries.values() for text in texts}
    found = {text: Path(os.path.normpath(path.absolute())) for text, path in found.items() if _is_outside(path, own)}
    lost = [text for text in about.entries[split] if text not in found]
    if not lost and _is_trusted(ref, file) and "root" not in ref.options:
        folder = _common(path if path.is_dir() else path.parent for path in found.values())
        root = PictureRoot(folder, ref.links)
        note = f"{split} in {file.name} is {about.entries[split][0]!r}; the dataset folder is {folder}"
        return _of_lists(ref, file, Places(root, tuple(root.spelt(found[text]) for text in about.entries[split]), [note]))
    text = (lost or about.entries[split])[0]
    if refused or not lost:
        named = f"path is {about.path!r}" if refused else f"{split} is {text!r}"
        raise DataError(f"{file}: {named}, which is outside the folder of this file. Read it with ?links=follow, or ?root=FOLDER")
    if about.path and "root" not in ref.options and not any(folder.is_dir() for folder in [*_candidates(about)][:-1]):
        reason = f"path is {about.path!r}, which is not a folder"
    else:
        reason = f"{split} is {text!r}, which is neither a folder nor a .txt list inside {ref.root_folder() or own / about.path}"
    raise DataError(f"{file}: {reason}. Set the dataset's folder: yolo:{file}?root=FOLDER")


def _is_outside(path: Path, own: Path) -> bool:
    """Return whether a path is a list, or a folder with images, that doesn't contain the description."""
    try:
        contains = own.resolve().is_relative_to(path.resolve())
        return not contains and (is_list(path) or (path.is_dir() and any(map(is_picture, islice(Folders(path).files(path), _LOOKED)))))
    except (OSError, ValueError):
        return False


def _of_lists(ref: DataRef, file: Path, places: Places) -> Places:
    """Return the places of lists with absolute paths of images that exist outside the dataset folder: their common folder is the root."""
    if "root" in ref.options or not all(map(is_list, places.sources)) or not _is_trusted(ref, file):
        return places
    lines = [Path(line) for source in places.sources for _, line in read_lines(source)]
    first = lines[0] if lines else Path()
    if "\0" in str(first) or not first.is_absolute() or places.root.holds(first) or not first.is_file():
        return places
    folder = _common(line.parent for line in lines if line.is_absolute())
    note = f"the images in {places.sources[0].name} are in {folder}, which is the dataset folder"
    return Places(PictureRoot(folder, ref.links), places.sources, [*places.notes, note])


def _common(folders: Iterable[Path]) -> Path:
    """Return the folder that contains other folders, above those of images or splits."""
    common = Path(os.path.commonpath([os.path.normpath(folder) for folder in folders]))
    while PICTURES.fullmatch(common.name) or split_kind(common.name):
        common = common.parent
    return common


def _is_trusted(ref: DataRef, file: Path) -> bool:
    """Return whether folders outside that of a file are used."""
    user = getattr(os, "geteuid", None)  # files have no such owner on Windows
    return ref.links == "follow" or (ref.links == "own" and (user is None or file.stat().st_uid == user()))
