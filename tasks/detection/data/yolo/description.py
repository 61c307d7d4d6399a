"""Files that describe a YOLO dataset: Ultralytics' YAML, Darknet's `obj.data`, and lists of class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.classes import unnamed
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef
from zoo.data.links import check_list
from zoo.data.lists import read_lines
from zoo.data.moved import tails
from zoo.data.names import nfc
from zoo.data.splits import split_kind
from zoo.errors import DataError, Flaw, InputError
from zoo.system.files import read_text
from zoo.tasks.detection.data.yolo.lines import Keypoints

YAML_NAMES = ("data.yaml", "data.yml")
SPLITS = ("train", "val", "test", "minival")  # the keys that Ultralytics reads
_CLASS_LISTS = ("classes.txt", "labels/classes.txt", "obj.names", "data/obj.names", "_darknet.labels")
_MAX_BYTES = 1_000_000
_MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Description:
    """Content of a file that describes a dataset.

    Attributes:
        file: the file.
        path: dataset folder as written; "" if it isn't stated.
        entries: folders or lists of images as written, by split.
        names: class names; empty if the file doesn't name them, but a list beside it may.
        keypoints: values of a pose; None if the lines aren't poses.
        notes: what was assumed.
    """

    file: Path
    path: str
    entries: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    keypoints: Keypoints | None = None
    notes: tuple[str, ...] = ()


def find_description(ref: DataRef, folder: Path) -> Path | None:
    """Return the file that describes the dataset in a folder: `data.yaml`, or the only YAML or `.data` file that does; None without one.

    Raises:
        InputError: several files do.
    """
    for name in YAML_NAMES:
        if (folder / name).is_file():
            return folder / name
    for kinds, places in (((".yaml", ".yml"), (folder,)), ((".data",), (folder, folder / "data"))):
        files = (file for place in places if place.is_dir() for file in sorted(place.iterdir()) if file.suffix.lower() in kinds)
        found = [file for file in files if file.is_file() and recognise_description(file)]
        if len(found) > 1:
            names = ", ".join(file.relative_to(folder).as_posix() for file in found)
            raise InputError(f"data {ref.text!r}: several files in {folder} describe datasets: {names}. Choose one: yolo:{found[0]}")
        if found:
            return found[0]
    return None


def recognise_description(file: Path) -> str | None:
    """Return why a file is recognised as the description of a dataset; None if it isn't one."""
    suffix = file.suffix.lower()
    try:
        if suffix == ".data":
            content: Mapping[Any, Any] = _settings(file)
            return (
                "it names the lists and classes of a Darknet dataset" if {"names", "classes"} & set(content) and _splits(content) else None
            )
        if suffix in (".yaml", ".yml"):
            content = read_yaml(file)
            return "it is a YAML file with names and train, val or test" if {"names", "nc"} & set(content) and _splits(content) else None
    except DataError:
        pass
    return None


def read_description(file: Path) -> Description:
    """Read a YAML file, or Darknet's `.data` file; raise a `DataError` if it is invalid."""
    return _read_darknet(file) if file.suffix.lower() == ".data" else _read_yaml(file)


def read_yaml(file: Path) -> Mapping[Any, Any]:
    """Read a YAML file; raise a `DataError` if it is too large, is not valid YAML, or doesn't contain a mapping."""
    import yaml  # rarely needed

    try:
        large = file.stat().st_size > _MAX_BYTES
        content = None if large else yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{file} is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if large:
        raise DataError(f"{file} is larger than {_MAX_BYTES:,} bytes; expected a YAML file that describes a dataset")
    if not isinstance(content, dict):
        raise DataError(f"{file} contains a {type(content).__name__}; expected a mapping with names, train, val, …")
    return content


def class_list(*folders: Path) -> tuple[str, ...]:
    """Return the class names from a list beside the images or labels (`classes.txt`, `obj.names`, …); empty without one."""
    for folder, name in ((folder, name) for folder in folders for name in _CLASS_LISTS):
        if (folder / name).is_file():
            check_list(folder / name, folder)
            return _read_names(folder / name)
    return ()


def is_class_list(file: Path) -> bool:
    """Return whether a file has the name of a list of classes."""
    return any(file.name == Path(name).name for name in _CLASS_LISTS)


def _read_names(file: Path) -> tuple[str, ...]:
    names = tuple(nfc(name) for _, name in read_lines(file, keep_quotes=True))
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{file}: expected one class per line, without repetitions; got {len(names)} lines, {len(set(names))} of them different"
        )
    return names


def _read_yaml(file: Path) -> Description:
    content = read_yaml(file)
    splits = _splits(content)
    if not splits:
        raise DataError(f"{file} names no images; expected train, val or test")
    path = content.get("path") or ""
    if not isinstance(path, str) or "\0" in path:
        raise DataError(f"{file}: path is {path!r}; expected a folder, relative to the folder of this file")
    entries = {split: tuple(_texts(file, split, content[key])) for split, key in splits.items()}
    names, count, notes = content.get("names"), _count(file, "nc", content.get("nc")), []
    if names is None:
        names = list(class_list(file.parent)) or None
    if names is None and count:
        names = list(unnamed(count))
        notes.append(_unnamed(file, "nc", count))
    return Description(file, path, entries, _names(file, names, count), _keypoints(file, content), tuple(notes))


def _splits(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the keys of the splits that have a value, by split: `train`, `val`, `test`, or another name of these, as `valid`."""
    found = {split: split for split in SPLITS if content.get(split)}
    for key in content:
        kind = split_kind(key) if isinstance(key, str) and content[key] else None
        if kind and key not in SPLITS:
            found.setdefault(kind, key)
    return {split: found[split] for split in SPLITS if split in found}


def _texts(file: Path, split: str, value: Any) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str) or not text or "\0" in text:
            raise DataError(f"{file}: {split} is {text!r}; expected a folder, a .txt list, or a list of them")
    return texts


def _names(file: Path, names: Any, count: int | None) -> tuple[str, ...]:
    if isinstance(names, dict):
        numbers = {int(key) if isinstance(key, str) and key.isdecimal() else key: name for key, name in names.items()}
        if sorted(numbers, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{file}: the keys of names are not the numbers 0 to {len(names) - 1}")
        names = [numbers[index] for index in range(len(names))]
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
        raise DataError(f"{file}: nc is {count}, but there are {len(texts)} names")
    return texts


def _count(file: Path, key: str, value: Any) -> int | None:
    """Return a number of classes; None if it isn't stated."""
    if value is None or value == "":
        return None
    text = str(value)
    if not text.isdecimal() or not 0 < len(text) < 7 or not 0 < int(text) <= _MAX_CLASSES:
        raise DataError(f"{file}: {key} is {text[:40]}; expected a number of classes, from 1 to {_MAX_CLASSES:,}")
    return int(text)


def _keypoints(file: Path, content: Mapping[Any, Any]) -> Keypoints | None:
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(type(value) is int for value in shape) and shape[0] > 0 and shape[1] in (2, 3):
        return shape[0], shape[1]
    raise DataError(f"{file}: kpt_shape is {str(shape)[:40]}; expected [number of keypoints, 2 or 3]")


def _settings(file: Path) -> dict[str, str]:
    """Read lines of the form `key = value`, with comments after `#`."""
    if file.stat().st_size > _MAX_BYTES:
        raise DataError(f"{file} is larger than {_MAX_BYTES:,} bytes; expected lines such as train = data/train.txt")
    pairs = (line.partition("#")[0].partition("=") for line in read_text(file).splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _read_darknet(file: Path) -> Description:
    content = _settings(file)
    entries = {split: tuple(part.strip() for part in content[key].split(",")) for split, key in _splits(content).items()}
    if not entries:
        raise DataError(f"{file} names no images; expected lines such as train = data/train.txt and valid = data/valid.txt")
    count, text = _count(file, "classes", content.get("classes")), content.get("names", "")
    lists = [found for tail in tails(text) for base in (file.parent, file.parent.parent) if (found := _inside(base, tail))]
    names = _read_names(lists[0]) if lists else class_list(file.parent)
    if names:
        return Description(file, "", entries, _names(file, list(names), count))
    if text or not count:
        raise DataError(f"{file}: names is {text!r}, which is not a file in {file.parent}; expected a list of class names")
    return Description(file, "", entries, unnamed(count), notes=(_unnamed(file, "classes", count),))


def _inside(folder: Path, text: str) -> Path | None:
    try:
        return PictureRoot(folder).find(text, annotation=True)[1]
    except Flaw:
        return None


def _unnamed(file: Path, key: str, count: int) -> str:
    return f"{file.name} states {key}: {count}, but no names; the classes are named by their numbers"
