"""One predictor for every task: pictures, folders, videos, cameras and arrays in, one result per picture out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from zoo import images
from zoo.data import Dataset, OnError
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.hardware import autocast, pick_device, pick_inference_precision, place
from zoo.images import MAX_PIXELS, Decoding
from zoo.loader import pick_batch_size
from zoo.model import Model
from zoo.parts import PartsFinder
from zoo.picture_folders import picture_files
from zoo.progress import Progress
from zoo.recipe import Precision
from zoo.task import Prediction, get_task

Source = str | Path | int | NDArray[np.uint8] | Iterable[Any]
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


@dataclass(frozen=True)
class Frame:
    """A picture on its way through the predictor: RGB uint8 [H, W, 3] and where it came from."""

    image: NDArray[np.uint8]
    key: str


def predict(
    model: Model,
    source: Source,
    *,
    batch_size: int | None = None,
    precision: Precision = "auto",
    device: str = "auto",
    on_error: OnError = "raise",
    exact: bool = False,
    max_pixels: int = MAX_PIXELS,
    detector: object = None,
    faces: str = "all",
    skipped: list[Fault] | None = None,
    progress: Progress | None = None,
) -> Iterator[Prediction]:
    """Answer for pictures, one result each, in their order.

    Args:
        model: any model of the zoo; it is moved to `device` and set to evaluation mode.
        source: a picture file, a folder (searched whole), a video file, a camera number, an RGB array [H, W, 3] uint8, a data
            set, or an iterable of these.
        batch_size: pictures at once; None for what suits their size (1 for a camera).
        precision: "auto" is fp32.
        device: "auto" or a torch device.
        on_error: "skip" leaves out pictures that can't be read, and those in which what was found can't be aligned.
        exact: decode every picture whole; otherwise a JPEG much larger than the model's input is decoded at a reduced scale, by tasks
            whose answers have no places in the picture.
        max_pixels: larger pictures are refused before they are decoded.
        detector: of face models, what finds the faces that are then aligned and embedded: "mtcnn", a detection model with a class "face"
            or its folder, or "none" to take every picture as one face; None for "mtcnn" where the model's faces are aligned, else "none".
        faces: which of those found: "all", or the main one ("largest", or "central": large and near the middle).
        skipped: receives what was left out.
        progress: where the bar is drawn; None for nowhere.

    Yields:
        `Classification`, `Detections` or `Faces`; coordinates are pixels of the original picture.

    Raises:
        InputError: a source that is none of the above; nothing there.
        ImageError: a picture can't be read, or what is found in it can't be aligned, and `on_error` is "raise".
    """
    if batch_size is None and isinstance(source, int):
        batch_size = 1
    whole = exact or get_task(model.task).localises
    decoding = Decoding(None if whole else model.preprocess.min_size_hw, max_pixels)
    skipped = skipped if skipped is not None else []
    frames, total = _frames(source, decoding, on_error, skipped)
    find = get_task(model.task).parts(model, detector, faces)
    answer = Answering(model, pick_batch_size(batch_size, model.preprocess), pick_inference_precision(precision, model.precision))
    answers = partial(_whole, answer) if find is None else partial(_found, answer, find, on_error, skipped)
    return _run(answer, frames, total, answers, device, progress or Progress(enabled=False))


@dataclass(frozen=True)
class Answering:
    """A model that answers for pictures in batches.

    Attributes:
        model: in evaluation mode.
        batch_size: pictures at once.
        precision: of the matrix work.
    """

    model: Model
    batch_size: int
    precision: Precision

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """Return an answer for each."""
        answers: list[Any] = []
        task, preprocess = get_task(self.model.task), self.model.preprocess
        for first in range(0, len(pictures), self.batch_size):
            several = pictures[first : first + self.batch_size]
            batch = preprocess.collate([preprocess(picture) for picture in several], [picture.shape[:2] for picture in several])
            with torch.inference_mode(), autocast(self.precision, self.model.device):
                answers += task.split(self.model(batch))
        return answers


def _run(
    answer: Answering,
    frames: Iterator[Frame],
    total: int,
    answers: Callable[[Sequence[Frame]], Iterator[Prediction]],
    device: str,
    progress: Progress,
) -> Iterator[Prediction]:
    model = answer.model
    place(model, pick_device(device, model.compiled))
    model.eval()
    progress.begin("predicting", total)
    while chunk := list(islice(frames, answer.batch_size)):
        for prediction in answers(chunk):
            progress.advance()
            yield prediction


def _whole(answer: Answering, frames: Sequence[Frame]) -> Iterator[Prediction]:
    """Answer for pictures as they are."""
    task = get_task(answer.model.task)
    for found, frame in zip(answer([frame.image for frame in frames]), frames, strict=True):
        yield task.prediction(found, frame.image, frame.key, answer.model.classes)


def _found(answer: Answering, find: PartsFinder, on_error: OnError, skipped: list[Fault], frames: Sequence[Frame]) -> Iterator[Prediction]:
    """Answer for what is found in pictures, of all of them together."""
    parts = []
    for frame in frames:
        try:
            parts.append(find(frame.image, frame.key))
        except ImageError as error:
            if on_error == "raise":
                raise
            skipped.append(Fault(frame.key, error.reason, whole=True, kind=error.kind))
    answers = iter(answer([crop for part in parts for crop in part.crops]))
    for part in parts:
        yield part.prediction(list(islice(answers, len(part.crops))))


def _frames(source: Source, decoding: Decoding, on_error: OnError, skipped: list[Fault]) -> tuple[Iterator[Frame], int]:
    """Return the pictures of a source and their number (0 where it isn't known)."""
    if isinstance(source, bool):
        raise InputError("the source is a boolean; expected a picture, folder, video, camera number or arrays")
    if isinstance(source, int):
        return _video(source, f"camera {source}"), 0
    if isinstance(source, np.ndarray):
        return iter([Frame(_checked(source, "array"), "array")]), 1
    if isinstance(source, str | Path):
        return _path(Path(source).expanduser(), decoding, on_error, skipped)
    if isinstance(source, Dataset):
        chosen = source.decoding(decoding)
        return _guarded(((record.key, partial(record.picture, chosen)) for record in source.records), on_error, skipped), len(source)
    if not isinstance(source, Iterable):
        raise InputError(f"the source is a {type(source).__name__}; expected a picture, folder, video, camera number or arrays")
    return _several(source, decoding, on_error, skipped), len(source) if isinstance(source, Sequence) else 0


def _path(path: Path, decoding: Decoding, on_error: OnError, skipped: list[Fault]) -> tuple[Iterator[Frame], int]:
    if path.is_dir():
        files = picture_files(path)
        if not files:
            raise DataError(f"{path} holds no pictures (files ending in {', '.join(images.SUFFIXES)})")
        return _guarded(((str(file), partial(decoding.read, file)) for file in files), on_error, skipped), len(files)
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a picture, a folder, a video or a camera number. It is relative to {Path.cwd()}")
    if path.suffix.lower() in _VIDEOS:
        return _video(str(path), str(path)), 0
    return _guarded([(str(path), partial(decoding.read, path))], on_error, skipped), 1


def _guarded(
    items: Iterable[tuple[str, Callable[[], tuple[NDArray[np.uint8], tuple[int, int]]]]], on_error: OnError, skipped: list[Fault]
) -> Iterator[Frame]:
    for key, load in items:
        try:
            yield Frame(load()[0], key)
        except ImageError as error:
            if on_error == "raise":
                raise
            skipped.append(Fault(key, error.reason, whole=True, kind=error.kind))


def _several(sources: Iterable[Any], decoding: Decoding, on_error: OnError, skipped: list[Fault]) -> Iterator[Frame]:
    for index, item in enumerate(sources):
        if isinstance(item, np.ndarray):
            yield Frame(_checked(item, f"array {index}"), f"array {index}")
        elif hasattr(item, "image") and hasattr(item, "key"):
            yield Frame(_checked(item.image, str(item.key)), str(item.key))
        else:
            yield from _frames(item, decoding, on_error, skipped)[0]


def _checked(image: NDArray[Any], key: str) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"{key} is {image.dtype} of shape {image.shape}; expected uint8 [H, W, 3], RGB")
    return image


def _video(source: str | int, name: str) -> Iterator[Frame]:
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        raise DataError(f"{name} can't be opened as a video")
    return _video_frames(capture, name)


def _video_frames(capture: cv2.VideoCapture, name: str) -> Iterator[Frame]:
    try:
        index = 0
        while True:
            good, frame = capture.read()
            if not good:
                break
            yield Frame(np.ascontiguousarray(frame[:, :, ::-1]), f"{name}#{index}")
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise DataError(f"{name} holds no frames that can be read")
