"""One predictor for every task: pictures, folders, videos, cameras and arrays in, one result per picture out."""

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
    """Answer for pictures, one result each, in their order.

    While the network computes, a thread reads and prepares the pictures that come next. Closing the generator ends it.

    Args:
        model: any model of the zoo; it is moved to `device` and set to evaluation mode.
        source: a picture file, a folder (searched whole), a video file, a camera number, an RGB array [H, W, 3] uint8, a data
            set, or an iterable of these.
        batch_size: pictures at once; None for what suits their size (1 for a camera).
        precision: "auto" is fp32.
        device: "auto" or a torch device.
        on_error: "skip" leaves out pictures that can't be read.
        exact: decode every picture whole; otherwise a JPEG much larger than the model's input is decoded at a reduced scale, by tasks
            whose answers have no places in the picture.
        max_pixels: larger pictures are refused before they are decoded.
        detector: of face models, what finds the faces that are then aligned and embedded: "mtcnn", a detection model with a class "face"
            or its folder, or "none" to take every picture as one face; None for "mtcnn" where the model's faces are aligned, else "none".
        faces: which of those found: "all", or the main one ("largest", or "central": large and near the middle).
        skipped: receives what was left out.
        progress: where the bar is drawn; None for nowhere.
        look_ahead: how many pictures are read before it is their turn, 0 for none; None for a batch of them (of face models, whose
            detector looks at one after the other, for two). A camera's are read at their turn, as are arrays that come out of an iterator
            and not a sequence: the next one may depend on the answer for this one.

    Yields:
        `Classification`, `Detections` or `Faces`; coordinates are pixels of the original picture.

    Raises:
        InputError: a source that is none of the above; nothing there; `batch_size` below 1 or `look_ahead` below 0.
        ImageError: a picture can't be read, or what is found in it can't be aligned, and `on_error` is "raise".
    """
    if batch_size is None and isinstance(source, int):
        batch_size = 1
    where, task, threads = pick_device(device, model.compiled), get_task(model.task), pick_decoding_threads()
    size = pick_batch_size(batch_size, model.preprocess, where)
    if look_ahead is not None and look_ahead < 0:
        raise InputError(f"look_ahead is {look_ahead}; expected 0 or more")
    answer = Answering(model, size, pick_inference_precision(precision, model.precision))
    find = task.parts(model, detector, faces)
    # a batch is read while the one before is answered; where parts are found picture by picture, one is read while one is looked at
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
    """A model that answers for pictures in batches.

    Attributes:
        model: in evaluation mode.
        batch_size: pictures at once.
        precision: of the matrix work.
    """

    model: Model
    batch_size: int
    precision: Precision

    def __call__(self, pictures: Sequence[Frame]) -> list[Any]:
        """Return an answer for each."""
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
    """Yield the pictures, and note what there is in place of one."""
    for each in made:
        if isinstance(each, Frame):
            yield each
        elif each is not None:
            skipped.append(each)


def _whole(answer: Answering, frames: Iterator[Frame]) -> list[Prediction] | None:
    """Answer for the next batch of pictures as they are; None where there are none left."""
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
    """Answer for what is found in the next pictures, of all of them together; None where there are none left."""
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
