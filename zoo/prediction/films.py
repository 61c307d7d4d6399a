"""Frames of videos, cameras, streams and animated images, in order."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, InputError
from zoo.images import decoding, pillow, stderr
from zoo.images.decoding import Decoding
from zoo.system.prefetch import Job

_VIDEOS = re.compile(
    r".*\.(mp4|m4v|mov|qt|avi|mkv|webm|mpg|mpeg|mpe|m2v|mts|m2ts|ts|wmv|asf|flv|f4v|3gp|3g2|ogv|vob|mxf|mjpg|mjpeg)", re.IGNORECASE
)
_ANIMATED = (".gif", ".webp", ".apng")  # suffixes of the images in folders that are examined for further frames
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://.*", re.IGNORECASE | re.DOTALL)
_LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", "mms")
_STREAMS = (*_LIVE, "http", "https")
_DEVICE = re.compile(r"/dev/video(\d+)")
_QUIET = threading.Lock()


def is_video(path: Path) -> bool:
    """Return whether a file name has the suffix of a video."""
    return _VIDEOS.fullmatch(path.name) is not None and not path.name.startswith(".")


def is_animated(path: Path, examined: tuple[str, ...] | None = _ANIMATED) -> bool:
    """Return whether an image file has several frames. Only files with the suffixes `examined` are read, all if it is None."""
    if examined is not None and not path.name.lower().endswith(examined):
        return False
    header = decoding.peek(path)
    return header is not None and header.several and header.format in pillow.ANIMATED


def may_be_film(path: Path) -> bool:
    """Return whether a file is a video or, by its suffix, an image that may be animated."""
    return is_video(path) or path.name.lower().endswith(_ANIMATED)


def device_or_stream(text: str) -> int | str | None:
    """Return the number of a camera given by its device file, or a URL that OpenCV can open; None for other texts.

    Raises an `InputError` for URLs of other schemes.
    """
    if device := _DEVICE.fullmatch(text):
        return int(device[1])
    if (scheme := _scheme(text)) and scheme not in _STREAMS:
        raise InputError(f"{text} is a URL of the scheme {scheme}; expected one of {', '.join(('file', *_STREAMS))}. Download it first")
    return text if scheme else None


def _scheme(text: str) -> str:
    """Return the scheme of a URL in lower case; "" for other texts."""
    found = _URL.fullmatch(text)
    return found[1].lower() if found else ""


class Film(Protocol):
    """Frames that are read one after the other."""

    def read(self) -> NDArray[np.uint8] | None:
        """Return the next frame [H, W, 3] uint8, RGB; None after the last one."""

    def release(self) -> None:
        """Close the source."""


class Capture:
    """A video file, a camera (by its number) or a stream (by its URL), read by OpenCV. Videos are turned as their metadata declare."""

    def __init__(self, source: str | int, name: str) -> None:
        """Open the source; raise a `DataError` if this fails."""
        with _QUIET:  # OpenCV prints the attempts of each of its backends
            level = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            try:
                with stderr.caught():
                    self._capture = cv2.VideoCapture(source)
            finally:
                cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            if isinstance(source, int):
                raise DataError(f"{name} can't be opened as a video; check that it is connected")
            if _scheme(source):
                raise DataError(f"{name} can't be opened as a stream; check the address, and that it can be reached from here")
            raise DataError(f"{name} can't be opened as a video; it may be damaged; try converting it to MP4 or AVI")

    def read(self) -> NDArray[np.uint8] | None:
        """Return the next frame."""
        good, frame = self._capture.read()
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8) if good else None

    def release(self) -> None:
        """Close the video or camera."""
        self._capture.release()


class Animation:
    """An animated image, such as a GIF."""

    def __init__(self, data: bytes, name: str, reading: Decoding) -> None:
        """Read the header; raise an `ImageError` if this fails."""
        self._frames = reading.frames(data, name)

    def read(self) -> NDArray[np.uint8] | None:
        """Return the next frame."""
        return next(self._frames, None)

    def release(self) -> None:
        """Forget the remaining frames."""


class Frames:
    """Jobs that read the frames of a video, camera, stream or animated image. They run in several threads, but frames are read in order.

    `make` receives each frame and its key, and returns the result of the job.
    """

    def __init__(self, film: Film, name: str, make: Callable[[NDArray[np.uint8], str], Any]) -> None:
        self.ended = False
        self._film, self._name, self._make = film, name, make
        self._next, self._turn = 0, threading.Condition()

    def jobs(self, early: bool) -> Iterator[Job[Any]]:
        """Yield one job per frame. Closing the iterator closes the source, and remaining jobs don't read from it."""
        try:
            for index in count():
                if self.ended:
                    break
                yield Job(partial(self._frame, index), early)
        finally:
            with self._turn:
                self.ended = True
                self._film.release()

    def _frame(self, index: int) -> Any:
        """Return the result for the frame with this index; None after the last frame."""
        # jobs start in order, so the job of the previous frame is already running
        with self._turn:
            self._turn.wait_for(lambda: self._next == index)
            frame = None
            try:
                frame = None if self.ended else self._film.read()
            finally:
                self.ended = frame is None
                self._next += 1
                self._turn.notify_all()
        if frame is None:
            if index == 0:
                raise DataError(f"{self._name} contains no readable frames: it is damaged or its codec is unsupported; convert it to MP4")
            return None
        return self._make(frame, f"{self._name}#{index}")


def open_film(source: str | int, name: str, make: Callable[[NDArray[np.uint8], str], Any]) -> Iterator[Job[Any]]:
    """Return one job per frame of a video, camera or stream. Frames of cameras and live streams aren't read ahead."""
    return Frames(Capture(source, name), name, make).jobs(early=not is_live(source))


def open_animation(data: bytes, name: str, reading: Decoding, make: Callable[[NDArray[np.uint8], str], Any]) -> Iterator[Job[Any]]:
    """Return one job per frame of an animated image."""
    return Frames(Animation(data, name, reading), name, make).jobs(early=True)


def is_live(source: object) -> bool:
    """Return whether a source is a camera or a live stream."""
    if isinstance(source, str):
        return _DEVICE.fullmatch(source) is not None or _scheme(source) in _LIVE
    return isinstance(source, int | np.integer)
