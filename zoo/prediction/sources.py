"""Image sources: files, folders, videos, cameras and arrays are converted to jobs that load one image each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset, OnError
from zoo.data.folders import Folders
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding as images
from zoo.images.decoding import Decoding
from zoo.system.prefetch import Job
from zoo.system.wording import look_at

Source = str | Path | int | NDArray[np.uint8] | Iterable[Any]
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


@dataclass(frozen=True)
class Frame:
    """An image [H, W, 3] uint8, RGB, to predict on, and its path or name."""

    image: NDArray[np.uint8]
    key: str
    prepared: Tensor | None  # the preprocessed image; None if crops of the image are passed to the network instead


Made = Frame | Fault | None  # None: end of a video


@dataclass(frozen=True)
class FrameReader:
    """Read images or frames. `prepare` preprocesses whole images; it is None if regions are cropped before preprocessing.

    `say` receives what was assumed or passed over.
    """

    decoding: Decoding
    on_error: OnError
    prepare: Callable[[NDArray[np.uint8]], Tensor] | None
    say: Callable[[str], None] = lambda text: None

    def frame(self, image: NDArray[np.uint8], key: str) -> Frame:
        """Return a frame with the image and, unless `prepare` is None, the preprocessed image."""
        return Frame(image, key, None if self.prepare is None else self.prepare(image))

    def load(self, key: str, load: Callable[[], tuple[NDArray[np.uint8], tuple[int, int]]]) -> Made:
        """Load an image with `load` and return it as a frame; or a `Fault` if it can't be read and `on_error` is "skip"."""
        try:
            image, _ = load()
        except ImageError as error:
            if self.on_error == "raise":
                raise
            return Fault(key, error.reason, whole=True, kind=error.kind)
        return self.frame(image, key)


def open_source(source: Source, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    """Return an iterator over one job per image, and the number of images (0 if unknown)."""
    if isinstance(source, bool):
        raise InputError("the source is a boolean; expected an image, folder, video, camera number or arrays")
    if isinstance(source, int):
        return _video(source, f"camera {source}", reader), 0
    if isinstance(source, np.ndarray):
        return iter([Job(partial(reader.frame, _checked(source, "array"), "array"))]), 1
    if isinstance(source, str | Path):
        return _path(Path(source).expanduser(), reader)
    if isinstance(source, Dataset):
        chosen = source.decoding(reader.decoding)
        return (Job(partial(reader.load, record.key, partial(record.picture, chosen))) for record in source.records), len(source)
    if not isinstance(source, Iterable):
        raise InputError(f"the source is a {type(source).__name__}; expected an image, folder, video, camera number or arrays")
    return _several(source, reader), len(source) if isinstance(source, Sequence) else 0


def _path(path: Path, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    if path.is_dir():
        folders = Folders(path)
        files = folders.pictures(path)
        if folders.faults and reader.on_error == "raise":
            raise DataError(f"{path} can't be read as a whole:", folders.faults, 'Fix it, or skip with --skip-bad (on_error="skip").')
        for note in folders.notes:
            reader.say(f"{path}: {note}")
        if not files:
            raise DataError(f"{path} contains no images (files ending in {', '.join(images.SUFFIXES)})", folders.faults)
        lost = (Job(lambda fault=fault: fault) for fault in folders.faults)
        return chain(lost, (_file(file, reader) for file in files)), len(files)
    if not path.exists():
        raise DataError(f"{path} does not exist; expected an image, a folder, a video or a camera number. {look_at(path)}")
    if path.suffix.lower() in _VIDEOS:
        return _video(str(path), str(path), reader), 0
    return iter([_file(path, reader)]), 1


def _file(path: Path, reader: FrameReader) -> Job[Made]:
    return Job(partial(reader.load, str(path), partial(reader.decoding.read, path)))


def _several(sources: Iterable[Any], reader: FrameReader) -> Iterator[Job[Made]]:
    # images from an iterator may come from a camera, or the next image may depend on the prediction for the current one
    early = isinstance(sources, Sequence)
    for index, item in enumerate(sources):
        if isinstance(item, np.ndarray):
            yield Job(partial(reader.frame, _checked(item, f"array {index}"), f"array {index}"), early)
        elif hasattr(item, "image") and hasattr(item, "key"):
            yield Job(partial(reader.frame, _checked(item.image, str(item.key)), str(item.key)), early)
        else:
            if isinstance(item, int):
                yield Job(lambda: None, early=False)  # prevents the camera from being opened early: an open camera buffers old frames
            yield from open_source(item, reader)[0]


def _checked(image: NDArray[Any], key: str) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"{key} is {image.dtype} of shape {image.shape}; expected uint8 [H, W, 3], RGB")
    return image


def _video(source: str | int, name: str, reader: FrameReader) -> Iterator[Job[Made]]:
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        remedy = "check that it is connected" if isinstance(source, int) else "it may be damaged; try converting it to MP4 or AVI"
        raise DataError(f"{name} can't be opened as a video; {remedy}")
    return _Video(capture, name, reader).jobs(isinstance(source, str))


class _Video:
    """Video reader. Jobs run in several threads, but frames are read in order."""

    def __init__(self, capture: cv2.VideoCapture, name: str, reader: FrameReader) -> None:
        self.ended = False
        self._capture, self._name, self._reader = capture, name, reader
        self._next, self._turn = 0, threading.Condition()

    def jobs(self, early: bool) -> Iterator[Job[Made]]:
        """Yield one job per frame. Closing the iterator closes the video, and remaining jobs don't read from it."""
        try:
            for index in count():
                if self.ended:
                    break
                yield Job(partial(self._frame, index), early)
        finally:
            with self._turn:
                self.ended = True
                self._capture.release()

    def _frame(self, index: int) -> Made:
        """Return the frame with this index; None after the last frame."""
        # jobs start in order, so the job of the previous frame is already running
        with self._turn:
            self._turn.wait_for(lambda: self._next == index)
            try:
                good, frame = (False, None) if self.ended else self._capture.read()
                self.ended = not good
            finally:
                self._next += 1
                self._turn.notify_all()
        if frame is None:
            if index == 0:
                raise DataError(f"{self._name} contains no readable frames: it is damaged or its codec is unsupported; convert it to MP4")
            return None
        return self._reader.frame(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8), f"{self._name}#{index}")
