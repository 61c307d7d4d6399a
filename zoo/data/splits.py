"""Splits and classes as folders: recognition of split names, the folder of a split, and whether a folder is one of image folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from zoo.data.folders import Folders, is_picture
from zoo.data.formats import DataRef, escaped_value
from zoo.data.names import nfc
from zoo.data.voc.parsing import is_annotation_file
from zoo.errors import DataError, InputError, MixedSplitsError
from zoo.system.wording import counted

# train, Training, training_set, train2017, seg_train, images_train; val, valid, validation, dev, eval; test, Testing, test_set
_KINDS = {"train": "train(ing)?", "val": "val(id(ation)?)?|minival|dev(elopment)?|eval(uation)?", "test": "test(ing)?"}
_BEFORE, _AFTER = r"((seg|images?|imgs?|data(set)?)[ _-])?", r"([ _-]?(set|data|split|images|imgs))?(\d{4})?"
_SPLITS = {kind: re.compile(f"{_BEFORE}({names}){_AFTER}", re.IGNORECASE) for kind, names in _KINDS.items()}
_PICTURES, _MASKS = (re.compile(names, re.IGNORECASE) for names in (r"images?|imgs?|jpegimages", r"(.*[ _-])?(masks?|segmentations?)"))
_NO_CLASS = re.compile(r"images?|imgs?|jpegimages|annotations?|labels?|label_?txt.*", re.IGNORECASE)
_ANNOTATIONS = re.compile(r"annotations?|labels?|label_?txt.*", re.IGNORECASE)
_COCO = re.compile(r"(instances.*|_annotations\.coco)\.json", re.IGNORECASE)
# class and fractions; or as in DOTA, eight coordinates and a class, or the first line of a file
_YOLO = re.compile(
    rb"\d+(\.0*)?([ \t]+[-+.\de]+){4,}\s*|([-+.\de]+[ \t]+){8}\S*[^\s\d.]\S*([ \t]+\S*[^\s\d.]\S*)*([ \t]+\d)?\s*|imagesource:.*\s*"
)
TABLES = r"(_annotations|_classes|metadata)\.(csv|tsv|parquet)"  # of Roboflow and Hugging Face, beside the images
_FOLDERS, _FILES = 8, 200  # folders of each level and files of each folder that are searched for annotations


def split_kind(name: str) -> str | None:
    """Return whether a name is one of a "train", "val" or "test" split; None if it isn't the name of a split."""
    return next((kind for kind, names in _SPLITS.items() if names.fullmatch(name)), None)


def match_split(wanted: str, names: Iterable[str]) -> str | None:
    """Return which of the names stands for a split: the same name, or the only one of its kind, as `valid` for `val`."""
    found, kind = list(names), split_kind(wanted)
    same = [name for name in found if nfc(name) == nfc(wanted)]
    alike = [name for name in found if split_kind(name) == kind is not None]
    return next((matching[0] for matching in (same, alike) if len(matching) == 1), None)


def split_folder(ref: DataRef, folders: Folders, root: Path, *, of_classes: bool = True) -> Path:
    """Return the folder of the requested split, or `root` if there are no splits. Other folders are those of classes if `of_classes`.

    Raises:
        InputError: the requested split doesn't exist, none was requested although all folders are splits, or only some are splits.
    """
    if ref.split is not None:
        folders = Folders(folders.root, folders.rule)  # faults of other splits don't matter
    found = {folder.name: folder for folder in folders.subfolders(root)}
    splits = [name for name in found if split_kind(name)]
    if ref.split is not None:
        name = match_split(ref.split, found)
        if name is None:
            lost = [fault for fault in folders.faults if fault.key.rpartition("/")[2] == ref.split]
            if lost:
                raise DataError(f"data {ref.text!r}: the split can't be opened:", lost)
            known = ", ".join(splits or list(found)[:8]) or "none"
            raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {root}; its folders are: {known}")
        return found[name]
    others = [name for name in found if name not in splits and has_pictures(folders, found[name])] if splits else []
    if others and (ref.classes is None or not of_classes):
        raise MixedSplitsError(
            f"data {ref.text!r} mixes splits ({', '.join(splits)}) and other folders with images ({', '.join(others[:8])}"
            f"{', …' if len(others) > 8 else ''}). Choose a split with ?split={escaped_value(splits[0])}"
            + (f", or classes with ?classes={','.join(map(escaped_value, others[:2]))}" if of_classes else "")
        )
    if splits and not others:
        raise InputError(f"data {ref.text!r} has the splits {', '.join(splits)}; choose one with ?split={escaped_value(splits[0])}")
    return root


def split_folders(ref: DataRef, folders: Folders, root: Path) -> list[Path]:
    """Return the folders of all requested splits, as in `split=train,test`; see `split_folder`."""
    if ref.split is None or "," not in ref.split:
        return [split_folder(ref, folders, root)]
    names = [name.strip() for name in ref.split.split(",")]
    found = [split_folder(replace(ref, split=name), folders, root) for name in names]
    if len(set(found)) < len(found):
        raise InputError(f"data {ref.text!r}: split lists a name twice; expected unique names, as in split=train,test")
    return found


def has_pictures(folders: Folders, folder: Path) -> bool:
    """Return whether a folder or one of its subfolders contains an image."""
    return any(map(is_picture, folders.files(folder)))


def recognise_folders(path: Path) -> str | None:
    """Return why a folder is recognised as a folder of image folders; None if it isn't, or if its images have annotation files."""
    folders = Folders(path)
    names = [folder.name for folder in folders.subfolders(path)]
    pictures = any(map(_PICTURES.fullmatch, names))  # beside them, "masks" isn't a class
    found = [path / name for name in names if not _NO_CLASS.fullmatch(name) and not (pictures and _MASKS.fullmatch(name))]
    if annotation_file(path) is not None or not any(has_pictures(folders, folder) for folder in found[:3]):
        return None
    return f"it contains {counted(len(found), 'folder')} with images"


def annotation_file(path: Path) -> Path | None:
    """Return a file with the boxes of images in a folder or two levels of its subfolders; None if none is found.

    It is a COCO file, a table that a tool wrote beside images, any XML, JSON or YOLO file in a folder of annotations, an XML or YOLO file
    beside an image of the same name, or a VOC file. The first folders of each level are searched, and the first files of each folder.
    """
    folders, level = Folders(path), [path]
    for _ in range(3):
        for place in level:
            files = [Path(file) for file in islice(folders.files(place, deep=False), _FILES)]
            stems = {file.stem for file in files if is_picture(file)}
            apart = any(map(_ANNOTATIONS.fullmatch, place.relative_to(path).parts))
            for file in files:
                if apart or file.stem in stems or is_annotation_file(file):
                    kinds = (".xml", ".json") if apart else (".xml",)
                    if file.suffix.lower() in kinds or (file.suffix.lower() == ".txt" and starts_like_yolo(file)):
                        return file
                if _COCO.fullmatch(file.name) or (stems and re.fullmatch(TABLES, file.name, re.IGNORECASE)):
                    return file
        level = [folder for place in level for folder in folders.subfolders(place)[:_FOLDERS]]
    return None


def starts_like_yolo(file: Path) -> bool:
    """Return whether the first line of a file is that of a YOLO or DOTA label file."""
    try:
        with file.open("rb") as lines:
            return _YOLO.fullmatch(lines.readline(1000).removeprefix(b"\xef\xbb\xbf")) is not None
    except OSError:
        return False
