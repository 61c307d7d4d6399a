"""Layout of a YOLO dataset, from Ultralytics' `data.yaml` or bare folders, and conversion of its box coordinates."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.folders import Folders, PictureRoot
from zoo.data.formats import DataRef
from zoo.data.lists import read_lines
from zoo.data.names import nfc
from zoo.data.splits import match_split, split_folder
from zoo.errors import DataError, Fault, Flaw, InputError

Fractions = tuple[float, float, float, float]

YAML_NAMES = ("data.yaml", "data.yml")
SPLITS = ("train", "val", "test", "minival")  # the keys that Ultralytics reads
_MAX_YAML_BYTES = 1_000_000


@dataclass(frozen=True)
class Layout:
    """Folders and class names of a YOLO dataset, for the requested split."""

    root: PictureRoot
    names: tuple[str, ...]  # class names by index; empty if the dataset doesn't name its classes
    sources: tuple[Path, ...]  # folders of images, or `.txt` lists of images, of the requested split
    folders: Folders  # lists the files of the dataset


def find_layout(ref: DataRef) -> Layout:
    """Return the layout of a dataset, from its `data.yaml` if it has one, otherwise from its folders `images` and `labels`."""
    path = ref.existing("folder or file")
    if path.is_file():
        return _from_yaml(ref, path)
    for name in YAML_NAMES:
        if (path / name).is_file():
            return _from_yaml(ref, path / name)
    if not is_bare(path):
        raise DataError(f"data {ref.text!r}: {path} has neither {YAML_NAMES[0]} nor folders named 'images' and 'labels'")
    if "root" in ref.options:
        raise InputError(f"data {ref.text!r}: root= needs a {YAML_NAMES[0]}; {path} has none")
    folders = Folders(path, ref.links)
    return Layout(
        PictureRoot(path, ref.links), _class_list(path), (split_folder(ref, folders, path / "images", of_classes=False),), folders
    )


def is_bare(folder: Path) -> bool:
    """Return whether a folder contains a folder `images`, and a folder `labels` with text files."""
    return (folder / "images").is_dir() and next(label_files(Folders(folder), folder / "labels"), None) is not None


def label_files(folders: Folders, labels: Path) -> Iterator[Path]:
    """Yield the text files in a folder of labels and its subfolders."""
    return (Path(file) for file in (folders.files(labels) if labels.is_dir() else ()) if file.endswith(".txt"))


def read_yaml(file: Path) -> Mapping[Any, Any]:
    """Read a YAML file; raise a `DataError` if it is too large, is not valid YAML, or doesn't contain a mapping."""
    import yaml  # rarely needed

    try:
        large = file.stat().st_size > _MAX_YAML_BYTES
        content = None if large else yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{file} is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if large:
        raise DataError(f"{file} is larger than {_MAX_YAML_BYTES:,} bytes; expected a YAML file that describes a dataset")
    if not isinstance(content, dict):
        raise DataError(f"{file} contains a {type(content).__name__}; expected a mapping with names, train, val, …")
    return content


def label_key(picture_key: str) -> str:
    """Return the path of an image's label file: the last folder named `images` is replaced by `labels`, and the suffix by `.txt`."""
    head, images, tail = f"/{picture_key}".rpartition("/images/")
    moved = f"{head}/labels/{tail}" if images else f"/{picture_key}"
    return posixpath.splitext(moved[1:])[0] + ".txt"


def list_pictures(layout: Layout, faults: list[Fault]) -> list[tuple[str, Path]]:
    """Return the key and file of every image, and add missing images and labels without an image to `faults`."""
    pictures: dict[str, Path] = {}
    for source in layout.sources:
        for place, line, text, base in _listed(source, layout):
            try:
                key, file = layout.root.find(text, base)
            except Flaw as flaw:
                faults.append(flaw.at(place, line, whole=True))
                continue
            if key in pictures:
                faults.append(Flaw(f"{key!r} is listed a second time", "repeated-id").at(place, line))
            pictures[key] = file
        if source.is_dir():
            faults += _orphans(layout, source, pictures)
    faults += layout.folders.faults
    return list(pictures.items())


def _listed(file: Path, layout: Layout) -> list[tuple[str, str, str, Path]]:
    """Return the place and line (for messages), the path and the base folder of each image in a folder or a list.

    Paths in a list are relative to the dataset's folder, or to the folder of the list if they start with `./`.
    """
    if file.is_dir():
        return [(str(picture), "", picture.name, picture.parent) for picture in layout.folders.pictures(file)]
    numbered = [(f"line {number}", line) for number, line in read_lines(file)]
    return [(f"{file} {place}", place, line, file.parent if line.startswith("./") else layout.root.folder) for place, line in numbered]


def _orphans(layout: Layout, source: Path, pictures: Mapping[str, Path]) -> list[Fault]:
    """Return an error for each label file that belongs to no image."""
    root = layout.root.folder
    key = f"{source.relative_to(root).as_posix()}/"
    labels = root / posixpath.dirname(label_key(f"{key}x"))
    if labels == source:  # the labels are next to the images, possibly among other text files
        return []
    known = {label_key(picture) for picture in pictures}
    files = sorted(file for file in label_files(layout.folders, labels) if file.name != "classes.txt")
    keys = [nfc(file.relative_to(root).as_posix()) for file in files]
    return [Fault(key, "labels without an image", kind="no-picture") for key in keys if key not in known]


def _from_yaml(ref: DataRef, file: Path) -> Layout:
    content = read_yaml(file)
    folder = ref.root_folder() or _root(file, content)
    given = {split: content[split] for split in SPLITS if content.get(split)}
    if not given:
        raise DataError(f"{file} names no images; expected train, val or test")
    if ref.split is None and len(given) > 1:
        raise InputError(f"data {ref.text!r} has the splits {', '.join(given)}; choose one with ?split={next(iter(given))}")
    split = match_split(ref.split, given) if ref.split else next(iter(given))
    if split is None:
        raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {file}; its splits are: {', '.join(given)}")
    texts = given[split] if isinstance(given[split], list) else [given[split]]
    root = PictureRoot(folder, ref.links)
    sources = tuple(_source(file, split, text, root) for text in texts)
    return Layout(root, _names(file, content), sources, Folders(folder, ref.links))


def _root(file: Path, content: Mapping[Any, Any]) -> Path:
    text = content.get("path") or "."
    if not isinstance(text, str) or "\0" in text:
        raise DataError(f"{file}: path is {text!r}; expected a folder, relative to the folder of this file")
    root = file.parent / text
    if not PictureRoot(file.parent).holds(root) or not root.is_dir():
        raise DataError(
            f"{file}: path is {text!r}, which is not a folder inside the folder of this file. "
            f"Set the dataset's folder: yolo:{file}?root=FOLDER",
        )
    return root


def _source(file: Path, split: str, text: Any, root: PictureRoot) -> Path:
    """Return the image folder or image list that an entry of `data.yaml` names.

    Roboflow's exports contain `../train/images` for a folder next to `data.yaml`. Like Ultralytics, remove `../` if no such path exists.
    """
    if not isinstance(text, str) or "\0" in text:
        raise DataError(f"{file}: {split} is {text!r}; expected a folder, a .txt list, or a list of them")
    reason = f"is neither a folder nor a .txt list inside {root.folder}"
    bases = dict.fromkeys((root.folder, file.parent))  # with root=, the entries may be relative to the file, as without it
    for path in (base / candidate for base in bases for candidate in (text, text.removeprefix("../"))):
        try:
            if root.holds(path) and (path.is_dir() or (path.is_file() and path.suffix == ".txt")):
                return root.spelt(path)
            reason = root.refused_link(path) or reason
        except OSError:  # the name is too long
            continue
    raise DataError(f"{file}: {split} is {text!r}, which {reason}")


def _names(file: Path, content: Mapping[Any, Any]) -> tuple[str, ...]:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{file}: the keys of names are not the numbers 0 to {len(names) - 1}")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(
            f"{file}: names is a {type(names).__name__}; expected the class names, as a list or as a mapping from class numbers"
        )
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise DataError(
                f"{file}: the class name {name!r} is not a string. Put it in quotation marks (YAML reads an unquoted no as false)"
            )
    texts = tuple(nfc(str(name)) for name in names)
    if len(set(texts)) < len(texts):
        raise DataError(f"{file}: names lists a class twice: {next(name for name in texts if texts.count(name) > 1)!r}")
    if count not in (None, len(texts)):
        raise DataError(f"{file}: nc is {str(count)[:40]}, but there are {len(texts)} names")
    return texts


def _class_list(folder: Path) -> tuple[str, ...]:
    """Return the class names from `classes.txt`, which labelling tools write next to the folders or into `labels`; empty without it."""
    for file in (folder / "classes.txt", folder / "labels" / "classes.txt"):
        if file.is_file():
            names = tuple(nfc(name) for _, name in read_lines(file, keep_quotes=True))
            if not names or len(set(names)) < len(names):
                raise DataError(
                    f"{file}: expected one class per line, without repetitions; got {len(names)} lines, {len(set(names))} of them different"
                )
            return names
    return ()


def corners(line: Fractions, size_hw: tuple[int, int]) -> Fractions:
    """Convert a box from centre and size, as fractions of the image size, to xyxy in pixels."""
    (cx, cy, width, height), (high, wide) = line, size_hw
    return (cx - width / 2) * wide, (cy - height / 2) * high, (cx + width / 2) * wide, (cy + height / 2) * high


def fractions(box: NDArray[np.float32] | Sequence[float], size_hw: tuple[int, int]) -> Fractions:
    """Convert a box, xyxy in pixels, to centre and size as fractions of the image size.

    `corners` restores the same float32 coordinates, because float64 fractions are more precise than them by a factor of 2^29.
    """
    left, top, right, bottom = (float(side) for side in box)
    high, wide = size_hw
    return (left + right) / 2 / wide, (top + bottom) / 2 / high, (right - left) / wide, (bottom - top) / high
