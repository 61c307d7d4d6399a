"""Conversion of a dataset, with all its splits, to another format."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np

from zoo.curation.check.items import Item, Opened, open_all
from zoo.data.dataset import Dataset, Record
from zoo.data.formats import DataRef, escaped, escaped_value
from zoo.data.voc.folder import PICTURES
from zoo.data.writers import Content, Picture, Writer
from zoo.errors import DataError, Fault, Flaw, ImageError, InputError, UnknownNameError
from zoo.images import headers
from zoo.images.header import FORMATS
from zoo.system.files import draft_folder
from zoo.system.progress import Progress
from zoo.system.wording import counted
from zoo.task.contract import Task

Pictures = Literal["link", "copy"]
_MARKER = ".zoo-data"  # this file is never written, so existing folders are never replaced
_FORMAT_FOLDERS = {"voc": PICTURES, "yolo": re.compile("images")}


@dataclass(frozen=True)
class Converted:
    """Result of `convert`."""

    data: tuple[str, ...]  # dataset strings for opening the result, one for each split
    pictures: int
    classes: tuple[str, ...]
    losses: tuple[str, ...]  # information that the new format can't represent and that was dropped because of `lossy`
    skipped: tuple[Fault, ...]  # annotation errors in the source that were skipped because of `skip_bad`
    linked: int  # number of images written as hard links to the original files

    def to_dict(self) -> dict[str, Any]:
        """Return the result as printed by `zoo data convert --json`."""
        return {**vars(self), "skipped": [fault.to_dict() for fault in self.skipped]}


def convert(
    source: str | Path,
    target: str,
    task: Task,
    *,
    pictures: Pictures = "link",
    lossy: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Convert a dataset, with all its splits, to another format. Image files stay byte-identical.

    `source` is a dataset string, without `split=` to convert all splits, and `target` is `scheme:folder` with a new or empty folder. Images
    are written as hard links, where these are possible, or as copies. Information that the new format can't represent raises an
    `InputError` unless `lossy`, and invalid samples raise a `DataError` unless `skip_bad`.
    """
    progress = progress or Progress(enabled=False)
    _writer(DataRef.parse(target), task)
    opened = open_whole(source, task, skip_bad, progress)
    content = gather(opened, task)
    data, losses, linked = write_content(content, target, task, source=opened.name, pictures=pictures, lossy=lossy, progress=progress)
    return Converted(data, len(content.pictures), content.classes, losses, tuple(opened.faults), linked)


def open_whole(source: str | Path, task: Task, skip_bad: bool, progress: Progress) -> Opened:
    """Open a dataset with all its splits. Raise a `DataError` if there are annotation errors and `skip_bad` is False."""
    opened = open_all(source, task, progress.say)
    for note in opened.notes:
        progress.say(f"data {opened.name}: {note}")
    if opened.faults and not skip_bad:
        what = f"data {opened.name!r}: {counted(len(opened.faults), 'error')} in the annotations:"
        raise DataError(what, opened.faults, "Fix them, or skip them with --skip-bad.")
    if not opened.items:
        raise DataError(f"data {opened.name!r} has no valid samples", opened.faults)
    return opened


def write_content(
    content: Content, target: str, task: Task, *, source: str, pictures: Pictures, lossy: bool, progress: Progress
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Write a dataset to a folder, which is created atomically. `source` is the original dataset string, for messages.

    Return `data`, `losses` and `linked` of `Converted`.
    """
    ref = DataRef.parse(target)
    writer = _writer(ref, task)
    out = Path(ref.path).expanduser()
    losses = tuple(writer.losses(content))
    if losses and not lossy:
        listed = "\n  ".join(losses)
        raise InputError(f"the format {ref.scheme} can't represent all of {source!r}:\n  {listed}\nPass --lossy to drop this information")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; choose a new folder, because existing files are never overwritten")
    linked = 0

    def put(picture: Picture, path: Path) -> None:
        nonlocal linked
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(picture.record.source, Path):
            picture.record.check_size()  # not all sizes of a large dataset are checked when it is opened
            linked += _link_or_copy(picture.record.source, path, pictures)
        else:
            path.write_bytes(encoded_picture(picture.record))
        progress.advance()

    progress.begin("writing", len(content.pictures))
    with draft_folder(out, _MARKER) as draft:
        writer.write(replace(content, put=put), draft)
    opens = f"{ref.scheme}:{escaped(str(out / writer.path if writer.path else out))}"
    # image files aren't changed, so their bands must still be chosen
    bands = next((",".join(map(str, picture.record.bands)) for picture in content.pictures if picture.record.bands), None)
    data = tuple(f"{opens}?split={escaped_value(split)}{f'&bands={bands}' if bands else ''}" for split in content.splits)
    data = data or (f"{opens}?bands={bands}" if bands else opens,)
    return data, losses, linked


def _writer(ref: DataRef, task: Task) -> Writer:
    writers = task.data.writers
    if writers is None:
        raise InputError(f"datasets of the task {task.name} can't be written: it has no output formats")
    if not ref.scheme or not ref.path:
        raise InputError(f"target is {ref.text!r}; expected scheme:folder, where scheme is one of: {', '.join(writers)}")
    if ref.options or ref.split or ref.classes or ref.limit or ref.bands:
        raise InputError(f"target is {ref.text!r}; options after ? are only allowed in the source")
    if ref.scheme not in writers:
        raise UnknownNameError(f"output format of the task {task.name}:", ref.scheme, writers)
    return writers[ref.scheme]


def gather(opened: Opened, task: Task) -> Content:
    """Convert an opened dataset to the format-independent form `Content`.

    Raise a `DataError` if a sample belongs to no split while others do, or if two images would have the same name.
    """
    classes = tuple(dict.fromkeys(name for names in opened.classes.values() for name in names))
    splits = tuple(dict.fromkeys(split for split in opened.classes if split and any(split in item.splits for item in opened.items)))
    if splits and any(not item.splits for item in opened.items):
        stray = next(item.key for item in opened.items if not item.splits)
        raise DataError(f"data {opened.name!r}: {stray} is in none of the splits {', '.join(splits)}; choose a split with ?split=…")
    names = [_name(item, opened.scheme) for item in opened.items]
    if len(set(map(str.casefold, names))) < len(names):  # images of several splits have the same name
        names = [_name(item, opened.scheme, keep_split=True) for item in opened.items]
    records = _relabelled(opened, classes, task)
    made = [Picture(name, record, item.splits) for name, record, item in zip(names, records, opened.items, strict=True)]
    seen: dict[str, Picture] = {}
    for picture in made:
        other = seen.setdefault(picture.name.casefold(), picture)
        if other is not picture:
            raise DataError(f"data {opened.name!r}: {other.record.key} and {picture.record.key} would have the same name {picture.name}")
    return Content(classes, splits, tuple(made))


def _relabelled(opened: Opened, classes: tuple[str, ...], task: Task) -> list[Record]:
    """Return the record of each item, with targets that refer to `classes`. The splits of a dataset may have other classes."""
    number = {name: index for index, name in enumerate(classes)}
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, item in enumerate(opened.items):
        if item.record.target is not None and item.classes != classes:
            places[item.classes].append(place)
    records = [item.record for item in opened.items]
    for own, chosen in places.items():
        part = Dataset(opened.name, tuple(records[place] for place in chosen), own)
        moved = task.data.relabel(part, [number[name] for name in own], classes)
        for place, record in zip(chosen, moved.records, strict=True):
            records[place] = record
    return records


def _name(item: Item, scheme: str, *, keep_split: bool = False) -> str:
    """Return the name of an image for the new format, without the image folder of the old format, and its split folder unless kept."""
    parts = list(PurePosixPath(item.key).parts)
    own = _FORMAT_FOLDERS.get(scheme)
    place = 1 if scheme == "voc" and parts[0] in item.splits else 0  # train/images/…
    if own is not None and own.fullmatch(parts[place]) and len(parts) > place + 1:
        del parts[place]
    if len(parts) > 1 and parts[0] in item.splits and not keep_split:
        del parts[0]
    if not isinstance(item.record.source, Path):  # the key is then a number, which is unique only within a split
        parts[-1] = "-".join((*item.splits, parts[-1])) + _suffix(item.record)
    return "/".join(parts)


def _suffix(record: Record) -> str:
    """Return the suffix of the file of an image that is in memory, as `encoded_picture` encodes it."""
    encoded = getattr(record.source, "encoded", None)
    try:
        return ".png" if encoded is None else FORMATS[headers.parse(encoded()).format][0]
    except Flaw:
        return ".png"  # reading it reports the error


def _link_or_copy(source: Path, path: Path, pictures: Pictures) -> bool:
    """Create an image file as a hard link or a copy. Return whether it is a hard link."""
    if pictures == "link":
        with contextlib.suppress(OSError):  # another file system, or hard links are not supported
            os.link(os.path.realpath(source), path)
            return True
    shutil.copyfile(source, path)
    return False


def encoded_picture(record: Record) -> bytes:
    """Return an image in encoded form: the original bytes if available, otherwise a PNG of its pixels."""
    if isinstance(record.source, Path):
        try:
            return record.source.read_bytes()
        except OSError as error:
            raise ImageError(record.key, f"can't be read: {error.strerror}") from None
    encoded = getattr(record.source, "encoded", None)
    if encoded is not None:
        return bytes(encoded())
    done, data = cv2.imencode(".png", np.ascontiguousarray(record.load().image[..., ::-1]))
    assert done, "pixels can always be encoded as PNG"
    return data.tobytes()
