"""Layout of a YOLO dataset: its folder, and the folders or lists of the images of a split."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.data.folders import Folders, PictureRoot, listed
from zoo.data.formats import DataRef
from zoo.data.links import check_list, check_main
from zoo.data.lists import read_lines
from zoo.data.moved import MovedFiles
from zoo.data.names import nfc
from zoo.data.splits import annotation_file, has_pictures, match_split, split_folder, split_kind
from zoo.data.voc.folder import PICTURES
from zoo.errors import DataError, Fault, Flaw, InputError
from zoo.tasks.detection.data.yolo.description import (
    YAML_NAMES,
    class_list,
    find_description,
    is_class_list,
    read_description,
)
from zoo.tasks.detection.data.yolo.labels import Labels, is_labels, label_files, label_key
from zoo.tasks.detection.data.yolo.lines import Keypoints
from zoo.tasks.detection.data.yolo.places import Places, find_places, is_list, lists_images, root_of_list


@dataclass
class Layout:
    """Folders and class names of a YOLO dataset, for the requested split."""

    places: Places
    names: tuple[str, ...]  # class names by index; empty if the dataset doesn't name its classes
    folders: Folders  # lists the files of the dataset
    keypoints: Keypoints | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def root(self) -> PictureRoot:
        """Dataset folder, which keys are relative to."""
        return self.places.root


def find_layout(ref: DataRef) -> Layout:
    """Return the layout of a dataset, from the file that describes it if there is one, otherwise from its folders or its list of images."""
    path = ref.existing("folder or file")
    if is_list(path):
        return _from_list(ref, path)
    file = path if path.is_file() else find_description(ref, path)
    if file is not None:
        if file != path:
            check_main(file, path, ref.links)
        return _from_description(ref, file)
    lists = _split_lists(path)
    if lists and ref.split is not None:
        if (split := match_split(ref.split, lists)) is None:
            raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {path}; its lists are: {', '.join(lists)}")
        check_list(lists[split], path)
        return _from_list(replace(ref, split=None), lists[split])
    layout = _from_folder(ref, path)
    if lists:
        layout.notes.append(f"all images are read; choose a list with ?split={next(iter(lists))}: {', '.join(lists)}")
    return layout


def split_names(path: Path) -> list[str]:
    """Return the names of a dataset's splits, without `minival`, which is a part of another split."""
    try:
        file = path if path.is_file() else find_description(DataRef(str(path), "yolo", str(path)), path)
        if file is not None:
            return [] if is_list(file) else [split for split in read_description(file).entries if split != "minival"]
        return list(_split_lists(path)) or _split_folders(path)
    except InputError:
        return []  # the reader reports the error


def is_bare(folder: Path) -> bool:
    """Return whether a folder contains images and label files: in folders `images` and `labels`, or in similar ones, or together."""
    if (folder / "images").is_dir() and next(label_files(Folders(folder), folder / "labels"), None) is not None:
        return True
    found = annotation_file(folder)
    return found is not None and found.suffix.lower() == ".txt"


def list_pictures(layout: Layout, faults: list[Fault]) -> list[tuple[str, Path]]:
    """Return the key and file of every image, and add images that can't be found to `faults`."""
    pictures: dict[str, Path] = {}
    moved: list[str] = []
    for source in layout.places.sources:
        found = MovedFiles([layout.root.folder, source.parent], layout.root)
        for place, line, text, base in _listed(source, layout):
            try:
                key, file = _find(layout.root, text, base, found, moved)
            except Flaw as flaw:
                faults.append(flaw.at(place, line, whole=True))
                continue
            if key in pictures:
                faults.append(Flaw(f"{key!r} is listed a second time", "repeated-id").at(place, line))
            pictures[key] = file
    if moved:
        layout.notes.append(f"paths that don't exist here, replaced by their longest trailing part that does: {listed(moved)}")
    return list(pictures.items())


def orphans(layout: Layout, labels: Labels, used: set[str]) -> list[Fault]:
    """Return an error for each label file that belongs to no image."""
    root = layout.root.folder
    sources = [source for source in layout.places.sources if source.is_dir()]
    found: dict[str, None] = {}
    for source in sources:
        place = posixpath.dirname(label_key(f"{source.relative_to(root).as_posix()}/x"))
        if root / place != source:  # otherwise the labels are next to the images, possibly among other text files
            found |= dict.fromkeys(map(str, sorted(label_files(layout.folders, root / place))))
    for place in labels.places if sources else []:
        beside = sorted(layout.folders.files(root / place, deep=False)) if (root / place).is_dir() else []
        found |= dict.fromkeys(file for file in beside if file.lower().endswith(".txt") and is_labels(Path(file)))
    keys = [nfc(Path(file).relative_to(root).as_posix()) for file in found if not is_class_list(Path(file))]
    return [Fault(key, "labels without an image", kind="no-picture") for key in keys if key not in used]


def _listed(file: Path, layout: Layout) -> Iterator[tuple[str, str, str, Path]]:
    """Yield the place and line (for messages), the path and the base folder of each image in a folder or a list.

    Paths in a list are relative to the dataset's folder, or to the folder of the list if they start with `./`.
    """
    if file.is_dir():
        for picture in layout.folders.pictures(file):
            yield str(picture), "", picture.name, picture.parent
    else:
        for number, line in read_lines(file):
            place = f"line {number}"
            yield f"{file} {place}", place, line, file.parent if line.startswith("./") else layout.root.folder


def _find(root: PictureRoot, text: str, base: Path, moved: MovedFiles, ends: list[str]) -> tuple[str, Path]:
    """Return the key and file of an image. For a path on another computer, this is its longest existing trailing part, added to `ends`."""
    try:
        return root.find(text, base)
    except Flaw as flaw:
        found = moved.find(text) if flaw.kind != "link" else None
        if found is None:
            if "outside" in flaw.reason:
                raise Flaw(f"{flaw.reason}. Set a folder that contains all images: ?root=FOLDER", flaw.kind) from None
            raise
    key, file = root.find(os.path.abspath(found[1]))
    ends.append(f"{text} as {key}")
    return key, file


def _from_list(ref: DataRef, file: Path) -> Layout:
    """Return the layout of a list of images that was passed itself."""
    if ref.split is not None:
        raise InputError(f"data {ref.text!r} names a list of images; split= chooses one of several, so leave it out")
    folder = ref.root_folder()
    folder, notes = root_of_list(ref, file) if folder is None else (folder, [])
    return _without_description(ref, folder, file, notes)


def _without_description(ref: DataRef, root: Path, source: Path, notes: Sequence[str] = ()) -> Layout:
    """Return the layout of one folder or list of images; the classes are those of a description or a list of names in the root."""
    description = find_description(ref, root)
    about = None if description is None else read_description(description)
    names = about.names if about else class_list(root, source if source.is_dir() else source.parent)
    places = Places(PictureRoot(root, ref.links), (source,), list(notes))
    return Layout(places, names, Folders(root, ref.links), about.keypoints if about else None)


def _from_description(ref: DataRef, file: Path) -> Layout:
    about = read_description(file)
    given = about.entries
    if ref.split is None and len(given) > 1:
        raise InputError(f"data {ref.text!r} has the splits {', '.join(given)}; choose one with ?split={next(iter(given))}")
    split = match_split(ref.split, given) if ref.split else next(iter(given))
    if split is None:
        raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {file}; its splits are: {', '.join(given)}")
    places = find_places(ref, about, split)
    for source in filter(is_list, places.sources):
        check_list(source, file.parent)
    return Layout(places, about.names, Folders(places.root.folder, ref.links), about.keypoints, list(about.notes))


def _from_folder(ref: DataRef, path: Path) -> Layout:
    """Return the layout of a folder without a description; it may also be the folder of images beside one of labels."""
    root, base = path, _base(path)
    if not is_bare(path) and not any(map(is_labels, label_files(Folders(path), path))):
        above, images, below = f"{path.absolute().as_posix()}/".rpartition("/images/")
        if not images or not Path(above, "labels", below).is_dir():
            missing = f"neither {YAML_NAMES[0]} nor folders named 'images' and 'labels', nor label files beside images"
            raise DataError(f"data {ref.text!r}: {path} has {missing}")
        root, base = Path(above), path.absolute()
    elif base == path and (inner := _inner_dataset(ref, path)) is not None:
        raise InputError(f"data {ref.text!r}: the dataset is in {inner}, a folder of {path}. Open it as yolo:{inner}")
    if "root" in ref.options:
        raise InputError(f"data {ref.text!r}: root= needs a {YAML_NAMES[0]}; {path} has none")
    source = split_folder(ref, Folders(root, ref.links), base, of_classes=False)
    return _without_description(ref, root, source / "images" if (source / "images").is_dir() else source)


def _inner_dataset(ref: DataRef, path: Path) -> Path | None:
    """Return a subfolder that has its own description or splits, whose images must not be mixed; None if there is none."""
    walk = Folders(path, ref.links)
    for inner in walk.subfolders(path):
        splits = (folder for folder in walk.subfolders(inner) if split_kind(folder.name))
        if find_description(ref, inner) is not None or any(has_pictures(walk, folder) for folder in splits):
            return inner
    return None


def _split_folders(path: Path) -> list[str]:
    return [folder.name for folder in Folders(path).subfolders(_base(path)) if split_kind(folder.name)]


def _split_lists(path: Path) -> dict[str, Path]:
    """Return the lists of images in a folder that are named like splits, by name, unless there are folders of splits."""
    lists = {file.stem: file for file in sorted(path.glob("*.txt")) if split_kind(file.stem) and lists_images(file)}
    return {} if lists and _split_folders(path) else lists


def _base(path: Path) -> Path:
    """Return the folder that contains the images or the folders of the splits."""
    if (path / "images").is_dir():
        return path / "images"
    named = [folder for folder in Folders(path).subfolders(path) if PICTURES.fullmatch(folder.name)]
    return named[0] if len(named) == 1 else path
