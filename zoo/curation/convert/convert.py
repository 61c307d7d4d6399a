"""Conversion of a whole dataset from one format to another."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np

from zoo.curation.check.items import Item, Opened, open_all
from zoo.data.dataset import Record
from zoo.data.reference import DataRef
from zoo.data.writers import Content, Picture, Writer
from zoo.errors import DataError, Fault, ImageError, InputError, UnknownNameError
from zoo.system.files import draft_folder
from zoo.system.progress import Progress
from zoo.system.wording import counted
from zoo.task.contract import Task

Pictures = Literal["link", "copy"]
_MARKER = ".zoo-data"  # never written, so that a folder with content is never replaced
_SUFFIXES = {
    b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif", b"P5": ".pgm", b"P6": ".ppm",
}  # fmt: skip
_FORMAT_FOLDERS = {"voc": "JPEGImages", "yolo": "images", "coco": ""}


@dataclass(frozen=True)
class Converted:
    """Result of `convert`.

    Attributes:
        data: dataset strings that open the result, one for each split.
        losses: what the new format can't represent and was dropped on request.
        skipped: annotation errors in the old data, skipped on request.
        linked: number of images that are hard links to the old ones.
    """

    data: tuple[str, ...]
    pictures: int
    classes: tuple[str, ...]
    losses: tuple[str, ...]
    skipped: tuple[Fault, ...]
    linked: int

    def to_dict(self) -> dict[str, Any]:
        """Return the result as printed by `zoo data convert --json`."""
        return {**vars(self), "skipped": [fault.to_dict() for fault in self.skipped]}


def convert(
    source: str,
    target: str,
    task: Task,
    *,
    pictures: Pictures = "link",
    lossy: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Convert a dataset with all its splits to another format; images stay byte-identical.

    The target is `scheme:folder`, with a new or empty folder. `pictures` is "copy", or "link" for hard links, and copies where links aren't
    possible. `lossy` continues if the new format can't represent everything, and `skip_bad` skips invalid samples; the result lists both.
    Otherwise, an `InputError` is raised.
    """
    progress = progress or Progress(enabled=False)
    _writer(DataRef.parse(target), task)
    opened = open_whole(source, task, skip_bad, progress)
    content = gather(opened)
    data, losses, linked = write_content(content, target, task, source=source, pictures=pictures, lossy=lossy, progress=progress)
    return Converted(data, len(content.pictures), content.classes, losses, tuple(opened.faults), linked)


def open_whole(source: str, task: Task, skip_bad: bool, progress: Progress) -> Opened:
    """Open a dataset with all its splits to write it again, or raise a `DataError` for annotation errors, unless `skip_bad` is set."""
    opened = open_all(source, task, progress.say)
    if opened.faults and not skip_bad:
        what = f"data {source!r}: {counted(len(opened.faults), 'error')} in the annotations:"
        raise DataError(what, opened.faults, "Fix them, or skip them with --skip-bad.")
    return opened


def write_content(
    content: Content, target: str, task: Task, *, source: str, pictures: Pictures, lossy: bool, progress: Progress
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Write content as a dataset; the folder appears only when it is complete. `source` names the old data in messages.

    Returns:
        Dataset strings that open the result, one for each split; what the format can't represent and was dropped on request; and the
        number of images that are hard links to the old ones.
    """
    ref = DataRef.parse(target)
    writer = _writer(ref, task)
    out = Path(ref.path).expanduser()
    losses = tuple(writer.losses(content))
    if losses and not lossy:
        listed = "\n  ".join(losses)
        raise InputError(f"{ref.scheme}: can't represent all of {source!r}:\n  {listed}\nPass --lossy to continue without it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; choose a new folder, existing files are never overwritten")
    linked = 0

    def put(picture: Picture, path: Path) -> None:
        nonlocal linked
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(picture.record.source, Path):
            linked += _link_or_copy(picture.record.source, path, pictures)
        else:
            path.write_bytes(encoded_picture(picture.record))
        progress.advance()

    progress.begin("writing", len(content.pictures))
    with draft_folder(out, _MARKER) as draft:
        writer.write(replace(content, put=put), draft)
    opens = f"{ref.scheme}:{out / writer.path if writer.path else out}"
    data = tuple(f"{opens}?split={split}" for split in content.splits) or (opens,)
    return data, losses, linked


def _writer(ref: DataRef, task: Task) -> Writer:
    writers = task.data.writers
    if writers is None:
        raise InputError(f"the task {task.name} has no format that can be written")
    if not ref.scheme or not ref.path:
        raise InputError(f"target is {ref.text!r}; expected scheme:folder, with one of: {', '.join(writers)}")
    if ref.options or ref.split or ref.classes or ref.limit:
        raise InputError(f"target is {ref.text!r}; expected no options, which apply to the source only")
    if ref.scheme not in writers:
        raise UnknownNameError(f"output format of the task {task.name}:", ref.scheme, writers)
    return writers[ref.scheme]


def gather(opened: Opened) -> Content:
    """Convert an opened dataset of any format to a common form, or raise a `DataError` for stray samples and equal names of images."""
    classes = tuple(dict.fromkeys(name for names in opened.classes.values() for name in names))
    splits = tuple(dict.fromkeys(split for split in opened.classes if split and any(split in item.splits for item in opened.items)))
    if splits and any(not item.splits for item in opened.items):
        stray = next(item.key for item in opened.items if not item.splits)
        raise DataError(f"data {opened.name!r}: {stray} is in none of the splits {', '.join(splits)}; choose one with ?split=…")
    number = {name: index for index, name in enumerate(classes)}
    made = [Picture(_name(item, opened.scheme), replace(item.record, target=_target(item, number)), item.splits) for item in opened.items]
    seen: dict[str, Picture] = {}
    for picture in made:
        other = seen.setdefault(picture.name.casefold(), picture)
        if other is not picture:
            raise DataError(f"data {opened.name!r}: {other.record.key} and {picture.record.key} would both be called {picture.name}")
    return Content(classes, splits, tuple(made))


def _target(item: Item, number: Mapping[str, int]) -> Any:
    labels = [number[name] for name in item.labels]
    if isinstance(item.record.target, Mapping):
        return {**item.record.target, "labels": np.array(labels, np.int64)}
    return labels[0] if labels else None


def _name(item: Item, scheme: str) -> str:
    """Return an image's name without the parts that belong to the old format: its image folder, splits and classes."""
    parts = list(PurePosixPath(item.key).parts)
    if parts[:1] == [_FORMAT_FOLDERS.get(scheme)]:
        del parts[0]
    if len(parts) > 1 and parts[0] in item.splits:
        del parts[0]
    if not isinstance(item.record.source, Path):  # without a file the key is a number, and every split starts counting at the same number
        encoded = getattr(item.record.source, "encoded", None)
        suffix = _SUFFIXES.get(encoded()[:2] if encoded is not None else b"", ".png")
        parts[-1] = "-".join((*item.splits, parts[-1])) + suffix
    return "/".join(parts)


def _link_or_copy(source: Path, path: Path, pictures: Pictures) -> bool:
    """Write an image file, and return whether as a hard link."""
    if pictures == "link":
        with contextlib.suppress(OSError):  # on another file system, or one without hard links
            os.link(os.path.realpath(source), path)
            return True
    shutil.copyfile(source, path)
    return False


def encoded_picture(record: Record) -> bytes:
    """Return the encoded bytes of an image: those of its file or table, or a PNG if it exists only as pixels."""
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
