"""Read a data set whole in one format, and write it in another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
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
from zoo.task.contract import Task

Pictures = Literal["link", "copy"]
_MARKER = ".zoo-data"  # never there: a folder with content is never replaced
_SUFFIXES = {
    b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif", b"P5": ".pgm", b"P6": ".ppm",
}  # fmt: skip
_FORMAT_FOLDERS = {"voc": "JPEGImages", "yolo": "images", "coco": ""}


@dataclass(frozen=True)
class Converted:
    """What `convert` did.

    Attributes:
        data: dataset strings that open the result, one for each split.
        pictures: how many were written.
        classes: the names, in their order.
        losses: what the new format can't hold, and was left behind on request.
        skipped: what was wrong with the old data, and was left out on request.
        linked: pictures that are hard links to the old ones.
    """

    data: tuple[str, ...]
    pictures: int
    classes: tuple[str, ...]
    losses: tuple[str, ...]
    skipped: tuple[Fault, ...]
    linked: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as `zoo data convert --json` prints it."""
        return {
            "data": list(self.data),
            "pictures": self.pictures,
            "classes": list(self.classes),
            "losses": list(self.losses),
            "skipped": [fault.to_dict() for fault in self.skipped],
            "linked": self.linked,
        }


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
    """Write a data set in another format; pictures stay the same byte for byte.

    Args:
        source: a dataset string or path; without `split=` all its splits.
        target: `scheme:folder`, a folder that is new or empty.
        task: whose formats these are.
        pictures: "link" makes hard links and copies where that can't be; "copy" copies.
        lossy: go on where the new format can't hold everything; what is lost is in the result.
        skip_bad: leave out what is faulty; it is in the result.
        progress: where the bar is drawn.

    Raises:
        InputError: a format that can't be written, a folder that is taken, something that would be lost.
        DataError: faults in the old data.
    """
    progress = progress or Progress(enabled=False)
    _writer(DataRef.parse(target), task)
    opened = open_all(source, task, progress.say)
    if opened.faults and not skip_bad:
        raise DataError(
            f"data {source!r}: {len(opened.faults)} faults in the annotations:",
            opened.faults,
            "Mend them, or leave them out with --skip-bad.",
        )
    content = gather(opened)
    data, written = write_content(content, target, task, source=source, pictures=pictures, lossy=lossy, progress=progress)
    return Converted(data, len(content.pictures), content.classes, written.losses, tuple(opened.faults), written.linked)


@dataclass(frozen=True)
class Written:
    """What `write_content` did.

    Attributes:
        losses: what the format can't hold, and was left behind on request.
        linked: pictures that are hard links to the old ones.
    """

    losses: tuple[str, ...]
    linked: int


def write_content(
    content: Content, target: str, task: Task, *, source: str, pictures: Pictures, lossy: bool, progress: Progress
) -> tuple[tuple[str, ...], Written]:
    """Write content as a data set; nothing is there until all of it is.

    Args:
        content: what to write.
        target: `scheme:folder`.
        task: whose formats these are.
        source: the old data's name, for messages.
        pictures: see `convert`.
        lossy: see `convert`.
        progress: where the bar is drawn.

    Returns:
        Dataset strings that open it, one for each split.

    Raises:
        InputError: as `convert`.
    """
    ref = DataRef.parse(target)
    writer = _writer(ref, task)
    out = Path(ref.path).expanduser()
    losses = tuple(writer.losses(content))
    if losses and not lossy:
        told = "\n  ".join(losses)
        raise InputError(f"{ref.scheme}: can't hold all of {source!r}:\n  {told}\n--lossy goes on without it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; choose a new folder, nothing in it will be overwritten")
    transfer = _Transfer(pictures, progress.advance)
    progress.begin("writing", len(content.pictures))
    with draft_folder(out, _MARKER) as draft:
        writer.write(replace(content, put=transfer.put), draft)
    opens = f"{ref.scheme}:{out / writer.path if writer.path else out}"
    data = tuple(f"{opens}?split={split}" for split in content.splits) or (opens,)
    return data, Written(losses, transfer.linked)


def _writer(ref: DataRef, task: Task) -> Writer:
    writers = task.data.writers
    if writers is None:
        raise InputError(f"the task {task.name} has no formats that can be written")
    if not ref.scheme or not ref.path:
        raise InputError(f"the new data is {ref.text!r}; expected scheme:folder, with one of: {', '.join(writers)}")
    if ref.options or ref.split or ref.classes or ref.limit:
        raise InputError(f"the new data is {ref.text!r}; options belong to the old data alone")
    if ref.scheme not in writers:
        raise UnknownNameError(f"format that the task {task.name} can write:", ref.scheme, writers)
    return writers[ref.scheme]


def gather(opened: Opened) -> Content:
    """Bring data that was opened in any format into one form.

    Raises:
        DataError: two pictures that would have the same name.
    """
    classes = tuple(dict.fromkeys(name for names in opened.classes.values() for name in names))
    splits = tuple(dict.fromkeys(split for split in opened.classes if split and any(split in item.splits for item in opened.items)))
    if splits and any(not item.splits for item in opened.items):
        stray = next(item.key for item in opened.items if not item.splits)
        raise DataError(f"data {opened.name!r}: {stray} lies in none of the splits {', '.join(splits)}; say which to take with ?split=…")
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
    """Return a picture's name without what belongs to the old format: its folder of pictures, its splits, its classes."""
    parts = list(PurePosixPath(item.key).parts)
    if parts[:1] == [_FORMAT_FOLDERS.get(scheme)]:
        del parts[0]
    if len(parts) > 1 and parts[0] in item.splits:
        del parts[0]
    if not isinstance(item.record.source, Path):  # keys without a file are numbers, and every split counts anew
        parts[-1] = "-".join((*item.splits, parts[-1])) + _suffix(item.record)
    return "/".join(parts)


def _suffix(record: Record) -> str:
    encoded = getattr(record.source, "encoded", None)
    data = encoded() if encoded is not None else b""
    return _SUFFIXES.get(data[:2], ".png")


class _Transfer:
    """Places pictures: as links, copies, or, where there is no file, as the bytes that stand in a table or as PNG."""

    def __init__(self, pictures: Pictures, done: Callable[[], None]) -> None:
        self._pictures, self._done = pictures, done
        self.linked = 0

    def put(self, picture: Picture, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        source = picture.record.source
        if isinstance(source, Path):
            self._from_file(source, path)
        else:
            data = encoded_picture(picture.record)
            path.write_bytes(data)
        self._done()

    def _from_file(self, source: Path, path: Path) -> None:
        if self._pictures == "link":
            try:
                os.link(os.path.realpath(source), path)
            except OSError:  # another file system, or one without hard links
                pass
            else:
                self.linked += 1
                return
        shutil.copyfile(source, path)


def encoded_picture(record: Record) -> bytes:
    """Return a picture's bytes: those of its file or table; of one that is only pixels, a PNG.

    Raises:
        ImageError: it can't be read.
    """
    if isinstance(record.source, Path):
        try:
            return record.source.read_bytes()
        except OSError as error:
            raise ImageError(record.key, f"can't be read: {error.strerror}") from None
    encoded = getattr(record.source, "encoded", None)
    if encoded is not None:
        return bytes(encoded())
    done, data = cv2.imencode(".png", np.ascontiguousarray(record.load().image[..., ::-1]))
    assert done, "pixels can always be written as PNG"
    return data.tobytes()
