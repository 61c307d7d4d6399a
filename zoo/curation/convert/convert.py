"""Conversion of a whole dataset from one format to another."""

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
        pictures: number of images written.
        classes: class names, in order.
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
    """Convert a dataset to another format; images stay byte-identical.

    Args:
        source: dataset string or path; without `split=`, all splits are converted.
        target: `scheme:folder`, with a new or empty folder.
        task: task whose dataset formats apply.
        pictures: "link" creates hard links, or copies where links aren't possible; "copy" creates copies.
        lossy: continue if the new format can't represent everything; the losses are in the result.
        skip_bad: skip invalid samples; their errors are in the result.
        progress: progress bar; None for no output.

    Raises:
        InputError: the format can't be written, the folder isn't empty, or something would be lost.
        DataError: the old data has annotation errors.
    """
    progress = progress or Progress(enabled=False)
    _writer(DataRef.parse(target), task)
    opened = open_all(source, task, progress.say)
    if opened.faults and not skip_bad:
        raise DataError(
            f"data {source!r}: {len(opened.faults)} annotation errors:",
            opened.faults,
            "Fix them, or skip them with --skip-bad.",
        )
    content = gather(opened)
    data, written = write_content(content, target, task, source=source, pictures=pictures, lossy=lossy, progress=progress)
    return Converted(data, len(content.pictures), content.classes, written.losses, tuple(opened.faults), written.linked)


@dataclass(frozen=True)
class Written:
    """Result of `write_content`.

    Attributes:
        losses: what the format can't represent and was dropped on request.
        linked: number of images that are hard links to the old ones.
    """

    losses: tuple[str, ...]
    linked: int


def write_content(
    content: Content, target: str, task: Task, *, source: str, pictures: Pictures, lossy: bool, progress: Progress
) -> tuple[tuple[str, ...], Written]:
    """Write content as a dataset; the folder appears only when it is complete.

    Args:
        content: classes, splits and images to write.
        target: `scheme:folder`.
        task: task whose dataset formats apply.
        source: name of the old data, for messages.
        pictures: see `convert`.
        lossy: see `convert`.
        progress: progress bar.

    Returns:
        Dataset strings that open the result, one for each split; and the losses and links.

    Raises:
        InputError: see `convert`.
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
        raise InputError(f"the task {task.name} has no format that can be written")
    if not ref.scheme or not ref.path:
        raise InputError(f"target is {ref.text!r}; expected scheme:folder, with one of: {', '.join(writers)}")
    if ref.options or ref.split or ref.classes or ref.limit:
        raise InputError(f"target is {ref.text!r}; expected no options, which apply to the source only")
    if ref.scheme not in writers:
        raise UnknownNameError(f"output format of the task {task.name}:", ref.scheme, writers)
    return writers[ref.scheme]


def gather(opened: Opened) -> Content:
    """Convert an opened dataset of any format to a common form.

    Raises:
        DataError: a sample is in no split while others are, or two images would have the same name.
    """
    classes = tuple(dict.fromkeys(name for names in opened.classes.values() for name in names))
    splits = tuple(dict.fromkeys(split for split in opened.classes if split and any(split in item.splits for item in opened.items)))
    if splits and any(not item.splits for item in opened.items):
        stray = next(item.key for item in opened.items if not item.splits)
        raise DataError(f"data {opened.name!r}: {stray} is in none of the splits {', '.join(splits)}; select a split with ?split=…")
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
        parts[-1] = "-".join((*item.splits, parts[-1])) + _suffix(item.record)
    return "/".join(parts)


def _suffix(record: Record) -> str:
    encoded = getattr(record.source, "encoded", None)
    data = encoded() if encoded is not None else b""
    return _SUFFIXES.get(data[:2], ".png")


class _Transfer:
    """Writes images as links, as copies or, if there is no file, as the bytes stored in a table or as PNG."""

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
            except OSError:  # on another file system, or one without hard links
                pass
            else:
                self.linked += 1
                return
        shutil.copyfile(source, path)


def encoded_picture(record: Record) -> bytes:
    """Return the encoded bytes of an image: those of its file or table, or a PNG if it exists only as pixels.

    Raises:
        ImageError: the image can't be read.
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
    assert done, "pixels can always be encoded as PNG"
    return data.tobytes()
