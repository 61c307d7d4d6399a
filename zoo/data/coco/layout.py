"""Layout of a COCO dataset: its annotation file, and the folders of its images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from zoo.data.formats import DataRef
from zoo.data.links import check_main
from zoo.data.splits import match_split
from zoo.errors import DataError, InputError

_OTHER_KINDS = re.compile(r"^(captions|person_keypoints|stuff|panoptic|image_info)_")
_LISTS = re.compile(rb'^\s*\{(?:.*[,{\s])?"(?:images|annotations|categories|licenses)"\s*:\s*\[', re.DOTALL)
_START = 1 << 16  # bytes in which one of the lists begins


def find_root(ref: DataRef) -> Path:
    """Return the folder of a dataset, whose annotation file may be named instead of it."""
    path = ref.existing("folder or file")
    if path.is_dir():
        return path
    if ref.split is not None or "json" in ref.options:
        raise InputError(f"data {ref.text!r} names an annotation file; split= and json= choose one in a folder, so leave them out")
    return path.parent.parent if path.parent.name == "annotations" else path.parent


def find_file(ref: DataRef, root: Path) -> Path:
    """Return the annotation file: the one that is named, or the only one that matches the requested split."""
    path = ref.existing("folder or file")
    if not path.is_dir():
        return ref.file()
    if "json" in ref.options:
        file = root / ref.options["json"]
        if not file.is_file():
            raise DataError(f"data {ref.text!r}: json is {ref.options['json']!r}; there is no such file in {root}")
        return file
    candidates = _candidates(root)
    names = ", ".join(file.relative_to(root).as_posix() for file in candidates) or "none"
    split = ref.split and match_split(ref.split, dict.fromkeys(name for file in candidates for name in _splits(root, file)))
    chosen = [file for file in candidates if ref.split is None or split in _splits(root, file)]
    if len(chosen) == 1:
        check_main(chosen[0], root, ref.links)
        return chosen[0]
    if not candidates:
        raise DataError(f"data {ref.text!r}: {root} has no instances file; expected annotations/instances_<split>.json or instances.json")
    if not chosen:
        raise InputError(f"data {ref.text!r}: no instances file for the split {ref.split!r} in {root}; its JSON files are: {names}")
    raise InputError(f"data {ref.text!r}: several files match in {root}: {names}. Choose one with ?split=… or ?json=…")


def find_folders(ref: DataRef, root: Path, file: Path, has: Callable[[Path], bool]) -> list[Path]:
    """Return the folders in which images are searched for.

    If none of the usual folders contains the first image (`has`), the only other folder that contains it is added.
    """
    if "images" in ref.options:
        given = Path(ref.options["images"]).expanduser()
        places = [root / given, given] if ref.existing("folder or file").is_file() else [root / given]
        for folder in places:
            if folder.is_dir():
                return [folder]
        raise DataError(f"data {ref.text!r}: images is {ref.options['images']!r}; there is no such folder in {root}")
    stem = file.stem.removeprefix("instances_")
    split = ref.split or stem
    places = [root / stem, root / split, root / "images" / stem, root / "images" / split, file.parent, root / "images", root]
    folders = [folder for folder in dict.fromkeys(places) if folder.is_dir()]
    if not any(has(folder) for folder in folders):
        beside = [folder for folder in root.iterdir() if folder.is_dir() and folder not in folders and has(folder)]
        folders += beside if len(beside) == 1 else []
    return folders


def recognise(path: Path) -> str | None:
    """Return why a folder is recognised as a COCO dataset, or None if it isn't."""
    names = [file for file in _candidates(path) if file.name.startswith("instances") or file.name == "_annotations.coco.json"]
    names = names or [file for file in _candidates(path) if _has_lists(file)]
    return f"it contains {names[0].relative_to(path).as_posix()}" if names else None


def recognise_file(file: Path) -> str | None:
    """Return why a file is recognised as a COCO annotation file, or None if it isn't."""
    return "it is a JSON file with COCO's lists" if file.suffix.lower() == ".json" and _has_lists(file) else None


def _candidates(root: Path) -> list[Path]:
    found = [*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")]
    own = sorted(file for file in found if not _OTHER_KINDS.match(file.name))
    return [file for file in own if _start(file).lstrip()[:1] != b"["] or own


def _has_lists(file: Path) -> bool:
    return _LISTS.match(_start(file)) is not None


def _start(file: Path) -> bytes:
    """Return the start of a JSON file. It begins with `[` in results files, which are often stored next to the annotation files."""
    try:
        with file.open("rb") as content:
            return content.read(_START).removeprefix(b"\xef\xbb\xbf")
    except OSError:  # the error is reported when the file is read
        return b""


def _splits(root: Path, file: Path) -> set[str]:
    """Return the split names of an instances file. COCO's original files match with or without the year: `train2017` or `train`."""
    stem = file.stem.removeprefix("instances_")
    return {stem, re.sub(r"\d{4}$", "", stem), file.parent.relative_to(root).as_posix()}
