"""Image sources: files, folders, videos, cameras, streams and images in memory are converted to jobs that load one image each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from zoo.data.dataset import Dataset, OnError
from zoo.data.folders import Folders, is_picture, listed
from zoo.data.lists import read_lines
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding, headers, pillow
from zoo.images.bands import parse as parse_bands
from zoo.images.decoding import Decoding
from zoo.images.preprocess import Preprocess
from zoo.prediction import films, memory
from zoo.system.prefetch import Job
from zoo.system.wording import look_at

Source = str | os.PathLike[str] | int | NDArray[Any] | Tensor | PILImage.Image | bytes | Iterable[Any]
_LISTS = (".txt", ".lst", ".list")
_KINDS = "an image, a folder, a video, a list of files, a camera number or a URL"
_BANDS = re.compile(r"(.+)\?bands=([^?&]*)", re.DOTALL)


@dataclass(frozen=True)
class Frame:
    """An image [H, W, 3] uint8, RGB, to predict on, and its path or name."""

    image: NDArray[np.uint8]
    key: str
    prepared: Mapping[Preprocess, Tensor]  # preprocessed images; empty if only crops of the image are passed to the network


Made = Frame | Fault | None  # None: end of a video


@dataclass(frozen=True)
class FrameReader:
    """Read images or frames, and preprocess them in each of the ways `prepare`, which is empty if only regions of an image are used.

    `say` receives messages about what was assumed or ignored.
    """

    decoding: Decoding
    on_error: OnError
    prepare: Sequence[Preprocess]
    say: Callable[[str], None] = lambda text: None

    def frame(self, image: NDArray[np.uint8], key: str) -> Frame:
        """Return a frame with the image and the preprocessed images."""
        return Frame(image, key, {preprocess: preprocess(image) for preprocess in self.prepare})

    def load(self, key: str, load: Callable[[], tuple[NDArray[np.uint8], tuple[int, int]]]) -> Made:
        """Load an image with `load` and return it as a frame; or a `Fault` if it can't be read and `on_error` is "skip"."""
        try:
            image, _ = load()
        except ImageError as error:
            if self.on_error == "raise":
                raise
            return Fault(key, error.reason, whole=True, kind=error.kind)
        return self.frame(image, key)

    def attempt(self, key: str, run: Callable[[], Made]) -> Made:
        """Return the result of a job; or a `Fault` if it raises a `DataError` and `on_error` is "skip"."""
        try:
            return run()
        except DataError as error:
            if self.on_error == "raise":
                raise
            return Fault(key, str(error).removeprefix(key).lstrip(": "), whole=True, kind="unreadable")


def open_source(source: Source, reader: FrameReader, number: str = "") -> tuple[Iterator[Job[Made]], int]:
    """Return an iterator over one job per image, and the number of images (0 if unknown).

    `number` is appended to the names of images in memory, to distinguish the images of a sequence apart.
    """
    if isinstance(source, bool):
        raise InputError("the source is a boolean; expected an image, folder, video, camera number or arrays")
    if isinstance(source, int | np.integer):
        return films.open_film(int(source), f"camera {source}", reader.frame), 0
    if isinstance(source, str | os.PathLike):
        return _path(os.fspath(source), reader)
    if isinstance(source, Dataset):
        chosen = source.decoding(reader.decoding)
        return (Job(partial(reader.load, record.key, partial(record.picture, chosen))) for record in source.records), len(source)
    if memory.is_encoded(source):
        return _encoded(source, "image" + number, reader)
    if memory.is_pixels(source):
        kind = "image" if isinstance(source, PILImage.Image) else "tensor" if isinstance(source, Tensor) else "array"
        return _pixels(source, kind + number, reader)
    if (sample := memory.sample(source)) is not None:
        return _pixels(*sample, reader)
    if not isinstance(source, Iterable):
        kind = type(source).__name__
        raise InputError(f"the source is a {kind}; expected {_KINDS}, or images in memory: arrays, tensors, PIL images or bytes")
    return _several(source, reader), len(source) if isinstance(source, Sequence) else 0


def _pixels(source: Any, name: str, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    try:
        found = memory.images(source, name, reader.decoding)
    except ImageError as error:
        if reader.on_error == "raise":
            raise
        return iter([_lost(Fault(error.key, error.reason, whole=True, kind=error.kind))]), 1
    return iter([Job(partial(reader.frame, image, key)) for image, key in found]), len(found)


def _lost(fault: Fault) -> Job[Made]:
    return Job(lambda: fault)


def _encoded(source: Any, name: str, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    data, key = memory.encoded(source, name)
    try:
        header = headers.parse(data)
        animated = header.several and header.format in pillow.ANIMATED
    except ValueError:
        animated = False  # the decoder reports the error
    if animated:
        return _animation(data, key, reader), 0
    return iter([Job(partial(reader.load, key, partial(reader.decoding.decode, data, key)))]), 1


def _animation(data: bytes, name: str, reader: FrameReader) -> Iterator[Job[Made]]:
    reader.say(f"{name} is animated; each frame is a separate image")
    return films.open_animation(data, name, reader.decoding, reader.frame)


def _several(sources: Iterable[Any], reader: FrameReader) -> Iterator[Job[Made]]:
    # images from an iterator may come from a camera, or the next image may depend on the prediction for the current one
    early = isinstance(sources, Sequence)
    for index, item in enumerate(sources):
        if films.is_live(item):
            yield Job(lambda: None, early=False)  # prevents the camera from being opened early: an open camera buffers old frames
        jobs = open_source(item, reader, f" {index}")[0]
        stored = not isinstance(item, str | os.PathLike | int | np.integer | Dataset)
        yield from (replace(job, early=job.early and early) for job in jobs) if stored else jobs


def _path(text: str, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    if text.lower().startswith("file:"):
        url = urlsplit(text)
        text = url2pathname(url.path) + (f"?{url.query}" if url.query else "")
    if (live := films.device_or_stream(text)) is not None:
        return films.open_film(live, text, reader.frame), 0
    path = Path(text).expanduser()
    if not os.path.exists(path):
        return _missing(text, reader)
    if path.is_dir():
        return _folder(path, reader)
    if path.suffix.lower() in _LISTS and not is_picture(path):
        return _listed(path, reader)
    if films.is_video(path):
        return films.open_film(str(path), str(path), reader.frame), 0
    if films.is_animated(path, None):
        return _animation(decoding.load(path), str(path), reader), 0
    return _files([path], reader)


def _missing(text: str, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    """Open a source that isn't a path, but a path with `?bands=` or a pattern; raise a `DataError` if it is neither."""
    if chosen := _BANDS.fullmatch(text):
        bands = parse_bands(chosen[2])
        return _path(chosen[1], replace(reader, decoding=replace(reader.decoding, bands=bands)))
    path = Path(text).expanduser()
    if glob.has_magic(text):
        return _matches(path, reader)
    raise DataError(f"{path} does not exist; expected {_KINDS}. {look_at(path)}")


def _folder(path: Path, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    folders = Folders(path)
    files = folders.pictures(path, also=films.is_video)
    if folders.faults and reader.on_error == "raise":
        raise DataError(f"{path} can't be read as a whole:", folders.faults, 'Fix it, or skip with --skip-bad (on_error="skip").')
    for note in folders.notes:
        reader.say(f"{path}: {note}")
    if not files:
        suffixes = ", ".join(decoding.SUFFIXES)
        raise DataError(f"{path} contains no images (files ending in {suffixes}) and no videos", folders.faults)
    jobs, total = _files(files, reader)
    return chain(map(_lost, folders.faults), jobs), total


def _matches(pattern: Path, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    found = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    if not found:
        raise DataError(f"no file matches {pattern}. {look_at(pattern)}")
    used = [path for path in found if path.is_dir() or films.is_video(path) or is_picture(path)]
    if other := [str(path) for path in found if path not in used]:
        reader.say(f"{pattern}: files that are neither images nor videos, ignored: {listed(other)}")
    if not used:
        raise DataError(f"{pattern} matches no image, video or folder, only other files: {listed(other)}")
    return _places(used, reader)


def _listed(file: Path, reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    """Open the files, folders and URLs in a list. Relative paths are relative to the list's folder or to the current one."""
    places: list[str | Path] = []
    faults = []
    for number, line in read_lines(file):
        if line.lower().startswith("file:") or films.device_or_stream(line) is not None:
            places.append(line)
            continue
        options = [file.parent / line, Path(line).expanduser()]
        place = next((option for option in options if os.path.exists(option)), None)
        if place is None:
            where = "" if options[1].is_absolute() else f", neither in {file.parent} nor in {Path.cwd()}"
            faults.append(Fault(f"{file}, line {number}", f"{line!r} does not exist{where}", whole=True, kind="no-picture"))
        else:
            places.append(place)
    if faults and reader.on_error == "raise":
        raise DataError(f"{file} lists files that don't exist:", faults, 'Fix the list, or skip them with --skip-bad (on_error="skip").')
    if not places:
        raise DataError(f"{file} lists no files; expected one path per line", faults)
    jobs, total = _places(places, reader)
    return chain(map(_lost, faults), jobs), total


def _places(places: Sequence[str | Path], reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    """Open files and, one by one, folders and URLs."""
    if all(isinstance(place, Path) and place.is_file() for place in places):
        return _files([Path(place) for place in places], reader)
    parts = (_files([place], reader) if isinstance(place, Path) and place.is_file() else _path(str(place), reader) for place in places)
    return chain.from_iterable(jobs for jobs, _ in parts), 0


def _files(files: Sequence[Path], reader: FrameReader) -> tuple[Iterator[Job[Made]], int]:
    """Open images and videos, and report images of which only a part is read."""
    stills = [file for file in files if not films.may_be_film(file)]
    for note in decoding.notes(((str(file), file) for file in stills), reader.decoding.bands):
        reader.say(f"an image has {note}" if len(files) == 1 else f"some images have {note}")
    return _opened(files, reader), len(files) if len(stills) == len(files) else 0


def _opened(files: Sequence[Path], reader: FrameReader) -> Iterator[Job[Made]]:
    for file in files:
        name = str(file)
        if films.is_video(file):
            opened: Callable[[], Iterator[Job[Made]]] = partial(films.open_film, name, name, reader.frame)
        elif films.is_animated(file):
            opened = partial(_animation, decoding.load(file), name, reader)
        else:
            yield Job(partial(reader.load, name, partial(reader.decoding.read, file)))
            continue
        try:
            jobs = opened()
        except DataError as error:
            if reader.on_error == "raise":
                raise
            yield _lost(Fault(name, str(error).removeprefix(name).lstrip(": "), whole=True, kind="unreadable"))
        else:
            yield from (Job(partial(reader.attempt, name, job.run), job.early) for job in jobs)
