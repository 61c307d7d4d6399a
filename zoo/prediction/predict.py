"""Prediction on images, folders, videos, cameras and arrays, for all tasks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from weakref import WeakSet

import numpy as np
import torch

from zoo.data.dataset import OnError
from zoo.errors import Fault, ImageError, InputError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.models.model import Model
from zoo.prediction.films import is_live
from zoo.prediction.groups import HeadGroup, head_groups, min_size_hw, predictions_of, thresholded
from zoo.prediction.sources import Frame, FrameReader, Made, Source, open_source
from zoo.system.hardware import pick_decoding_threads, pick_device, place
from zoo.system.precision import Precision
from zoo.system.prefetch import in_order
from zoo.system.progress import Progress
from zoo.task.answers import Parts, Prediction
from zoo.task.operating import check_threshold

_HINTED: WeakSet[Model] = WeakSet()  # models whose missing thresholds have been mentioned


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
    threshold: float | None = None,
    detector: object = None,
    faces: str = "all",
    skipped: list[Fault] | None = None,
    progress: Progress | None = None,
    look_ahead: int | None = None,
) -> Generator[Prediction]:
    """Run a model on images, and yield one prediction per image, in order.

    A model with several heads yields one `JointPrediction` per image. Every image is read once, and the backbone runs once for all heads
    with the same preprocessing.

    Background threads read and preprocess the next images while the network is running. Closing the generator stops the threads.

    Args:
        model: the model. It is moved to `device` and set to evaluation mode.
        source: path of an image, a folder (searched recursively), a video or a text file with one path per line; a pattern such as
            `photos/*.jpg`; a URL (`file:`, `http:`, `rtsp:`, …); a camera number; an array ([H, W, 3] RGB, [H, W] grey or [H, W, 4] RGBA;
            uint8, uint16 or float 0–1), a tensor [3, H, W], a batch of either, or a PIL image; the bytes of an image file, or an open
            file; a dataset; or an iterable of these. Videos and animated images yield one prediction per frame. A path may end in
            "?bands=" and the bands to read, as in `zoo.read_image`.
        batch_size: number of images per batch. None selects it from the model's input size, or 1 for a camera.
        precision: precision of matrix multiplications. "auto" means fp32.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip images that can't be read.
        exact: whether to decode every image at full size. By default, JPEGs much larger than the model's input are decoded at a reduced
            scale if predictions of the task contain no image coordinates. With several heads, this must hold for the tasks of all heads.
        max_pixels: maximum width × height of an image, in pixels. Larger images are rejected before they are decoded.
        threshold: score above which classes are predicted, in place of the thresholds that `zoo.tune` stored with the model: for detectors,
            multi-label classifiers and classifiers with two classes. A detector's `score_threshold` is a further lower limit. With several
            heads, it applies to those whose predictions have a threshold.
        detector: face detector for face models: "mtcnn", a detection model with a class "face", the folder of such a model, or "none" to
            treat every image as one face. None means "mtcnn" for models that require aligned faces, and "none" for all others. With several
            heads, `detector` and `faces` apply to the face heads.
        faces: faces to process: "all", or only the main one ("largest", or "central": large and near the centre).
        skipped: list to which the errors of skipped images are appended.
        progress: display of the progress bar; None for no display.
        look_ahead: number of images to prefetch, 0 for none. None means one batch plus the number of decoding threads, or one image plus
            the number of threads for face models with a detector, because it processes images one by one. Camera frames are never
            prefetched. Neither are arrays from an iterator that isn't a sequence, because the next array may depend on the current
            prediction.

    Yields:
        `Classification`, `Detections` or `Faces`, or a `JointPrediction`, which contains one of these per head. Coordinates are in pixels
        of the original image.

    Raises:
        InputError: the source is unsupported or empty, `batch_size` is below 1, `look_ahead` is below 0, or the predictions have no
            `threshold`.
        ImageError: an image can't be read, or a face in it can't be aligned, and `on_error` is "raise".
    """
    if batch_size is None and is_live(source):
        batch_size = 1
    where, threads = pick_device(device, model.compiled), pick_decoding_threads()
    if look_ahead is not None and look_ahead < 0:
        raise InputError(f"look_ahead is {look_ahead}; expected 0 or more")
    groups = head_groups(model, detector, faces, batch_size=batch_size, precision=precision, device=where)
    whole = [group for group in groups if group.find is None]
    size = min(group.batch_size for group in groups)
    # one batch is read while the previous one is computed; a detector processes single images, so one prefetched image is enough
    window = look_ahead if look_ahead is not None else threads + (size if whole else 1)
    progress = progress or Progress(enabled=False)
    if threshold is None:
        _hint(model, progress)
    else:
        check_threshold(threshold, "threshold")
    decoding = Decoding(None if exact else min_size_hw(model), max_pixels)
    reader = FrameReader(decoding, on_error, [*dict.fromkeys(group.preprocess for group in whole)], progress.say)
    jobs, total = open_source(source, reader)
    alone = total == 1 and isinstance(source, str | Path | np.ndarray)
    made = in_order(jobs, 0 if alone else window, threads)
    skipped = skipped if skipped is not None else []
    return _run(model, made, total, partial(_next, groups, size, on_error, skipped, threshold), where, skipped, progress)


def _hint(model: Model, progress: Progress) -> None:
    """Say once for each model which of its heads need thresholds that they don't have."""
    if model in _HINTED:
        return
    _HINTED.add(model)
    for name, head in model.config.heads.items():
        if hint := head.definition.answers.without_operating_point(model.head_metadata(name), head.options):
            progress.say(f"{name}: {hint}" if model.is_joint else hint)


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
    """Yield the frames, and append the errors of images that can't be read to `skipped`."""
    for each in made:
        if isinstance(each, Frame):
            yield each
        elif each is not None:
            skipped.append(each)


def _next(
    groups: Sequence[HeadGroup], size: int, on_error: OnError, skipped: list[Fault], threshold: float | None, frames: Iterator[Frame]
) -> list[Prediction] | None:
    """Return predictions for the next batch of images; None if no images are left. Regions are detected while further images are read."""
    looked, kept, parts = 0, list[Frame](), list[list[Parts | None]]()
    for frame in islice(frames, size):
        looked += 1
        try:
            parts.append([group.parts(frame) for group in groups])
        except ImageError as error:
            if on_error == "raise":
                raise
            skipped.append(Fault(frame.key, error.reason, whole=True, kind=error.kind))
        else:
            kept.append(frame)
    if not kept:
        return [] if looked else None
    return thresholded(predictions_of(groups, kept, parts), threshold)
