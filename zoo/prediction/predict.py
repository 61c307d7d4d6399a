"""Prediction for all tasks: from images, folders, videos, cameras or arrays to one result per image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.dataset import OnError
from zoo.data.loader import pick_batch_size
from zoo.errors import Fault, ImageError, InputError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.models.inference import answers
from zoo.models.model import Model
from zoo.prediction.sources import Frame, FrameReader, Made, Source, open_source
from zoo.system.hardware import autocast, pick_decoding_threads, pick_device, pick_inference_precision, place
from zoo.system.precision import Precision
from zoo.system.prefetch import in_order
from zoo.system.progress import Progress
from zoo.task.contract import get_task
from zoo.task.prediction import PartsFinder, Prediction


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
    look_ahead: int | None = None,
) -> Generator[Prediction]:
    """Run a model on images and yield one result per image, in their order.

    While the network computes, threads read and preprocess the next images. Closing the generator stops them.

    Args:
        model: any model of the zoo; it is moved to `device` and set to evaluation mode.
        source: an image file, a folder (searched recursively), a video file, a camera number, an RGB array [H, W, 3] uint8, a dataset,
            or an iterable of these.
        batch_size: images per batch; None for a size that suits the model's input (1 for a camera).
        precision: precision of matrix multiplications; "auto" is fp32.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip images that can't be read.
        exact: whether to decode every image at full size; otherwise JPEGs much larger than the model's input are decoded at a reduced
            scale, for tasks whose answers contain no image coordinates.
        max_pixels: limit on width × height; larger images are refused before they are decoded.
        detector: for face models, the detector of the faces to align and embed: "mtcnn", a detection model with a class "face" or its
            folder, or "none" to treat every image as one face; None for "mtcnn" if the model works on aligned faces, otherwise "none".
        faces: which faces to answer for: "all", or only the main one ("largest", or "central": large and near the centre).
        skipped: list to which the skipped images are appended.
        progress: display of the progress bar; None for none.
        look_ahead: number of images to read ahead, 0 for none; None for one batch (for face models, whose detector processes images one
            by one, two images). Camera frames are never read ahead, nor are arrays from an iterator that isn't a sequence, because the
            next one may depend on the current answer.

    Yields:
        `Classification`, `Detections` or `Faces`; coordinates are pixels of the original image.

    Raises:
        InputError: an unsupported or empty source, `batch_size` below 1 or `look_ahead` below 0.
        ImageError: an image can't be read, or a face in it can't be aligned, and `on_error` is "raise".
    """
    if batch_size is None and isinstance(source, int):
        batch_size = 1
    where, task, threads = pick_device(device, model.compiled), get_task(model.task), pick_decoding_threads()
    size = pick_batch_size(batch_size, model.preprocess, where)
    if look_ahead is not None and look_ahead < 0:
        raise InputError(f"look_ahead is {look_ahead}; expected 0 or more")
    answer = Answering(model, size, pick_inference_precision(precision, model.precision))
    find = task.parts(model, detector, faces)
    # a batch is read while the previous one is computed; a detector of parts processes single images, so that reading one ahead suffices
    window = look_ahead if look_ahead is not None else threads + (size if find is None else 1)
    decoding = Decoding(None if exact or task.answers.localises else model.preprocess.min_size_hw, max_pixels)
    jobs, total = open_source(source, FrameReader(decoding, on_error, model.preprocess if find is None else None))
    alone = total == 1 and isinstance(source, str | Path | np.ndarray)
    made = in_order(jobs, 0 if alone else window, threads)
    skipped = skipped if skipped is not None else []
    next_ones = partial(_whole, answer) if find is None else partial(_found, answer, find, on_error, skipped)
    return _run(answer.model, made, total, next_ones, where, skipped, progress or Progress(enabled=False))


@dataclass(frozen=True)
class Answering:
    """A callable that runs a model, which must be in evaluation mode, on frames in batches."""

    model: Model
    batch_size: int
    precision: Precision

    def __call__(self, pictures: Sequence[Frame]) -> list[Any]:
        """Return one answer per frame."""
        found: list[Any] = []
        preprocess = self.model.preprocess
        for first in range(0, len(pictures), self.batch_size):
            several = pictures[first : first + self.batch_size]
            prepared: list[Tensor] = [preprocess(frame.image) if frame.prepared is None else frame.prepared for frame in several]
            batch = preprocess.collate(prepared, [frame.image.shape[:2] for frame in several])
            with torch.inference_mode(), autocast(self.precision, self.model.device):
                found += answers(self.model, batch)
        return found


def _run(
    model: Model,
    made: Generator[Made],
    total: int,
    next_ones: Callable[[Iterator[Frame]], list[Prediction] | None],
    device: torch.device,
    skipped: list[Fault],
    progress: Progress,
) -> Generator[Prediction]:
    place(model, device)
    model.eval()
    progress.begin("predicting", total)
    with closing(made):
        frames = _frames(made, skipped)
        while (found := next_ones(frames)) is not None:
            for prediction in found:
                progress.advance()
                yield prediction


def _frames(made: Iterable[Made], skipped: list[Fault]) -> Iterator[Frame]:
    """Yield the frames, and append the faults of images that can't be read to `skipped`."""
    for each in made:
        if isinstance(each, Frame):
            yield each
        elif each is not None:
            skipped.append(each)


def _whole(answer: Answering, frames: Iterator[Frame]) -> list[Prediction] | None:
    """Return predictions for the next batch of whole images; None at the end."""
    task, several = get_task(answer.model.task), list(islice(frames, answer.batch_size))
    if not several:
        return None
    return [
        task.answers.prediction(found, frame.image, frame.key, answer.model.classes)
        for found, frame in zip(answer(several), several, strict=True)
    ]


def _found(
    answer: Answering, find: PartsFinder, on_error: OnError, skipped: list[Fault], frames: Iterator[Frame]
) -> list[Prediction] | None:
    """Return predictions for the parts found in the next batch of images, whose crops are computed together; None at the end."""
    looked, parts = 0, []
    for frame in islice(frames, answer.batch_size):
        looked += 1
        try:
            parts.append(find(frame.image, frame.key))
        except ImageError as error:
            if on_error == "raise":
                raise
            skipped.append(Fault(frame.key, error.reason, whole=True, kind=error.kind))
    embedded = iter(answer([Frame(crop, "", None) for part in parts for crop in part.crops]))
    return [part.prediction(list(islice(embedded, len(part.crops)))) for part in parts] if looked else None
