"""The `zoo predict` command."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from zoo.cli.context import compiled, print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import BatchSize, combine
from zoo.errors import InputError


@dataclass(frozen=True)
class PredictFlags:
    """Predict on images, folders, videos, lists of files, URLs or a camera (by device index, e.g. 0)."""

    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[MODEL] SOURCE…", help_behavior_hint="(required)")]
    """Folder of a run or model, or hf:OWNER/NAME, followed by one or more images, folders, videos, patterns ("*.jpg"), text files that list
    paths, URLs (http:, rtsp:, file:), cameras, or - for an image on standard input. With --backbone, omit the model."""
    out: Path | None = None
    """Output folder for annotated images and predictions.jsonl; by default, no files are written."""
    batch_size: BatchSize = None
    threshold: float | None = None
    """Score above which classes are predicted, in place of the model's operating point (zoo tune): detection, multi-label classification
    and classification with two classes."""
    detector: str | None = None
    """Face task only: face detector to run before alignment and embedding. It is mtcnn, the folder of a detection model with a "face" class
    (both accept settings, e.g. mtcnn?min_size=40&threshold=0.8), or none to treat each image as one face. By default, mtcnn if the model
    requires aligned faces, otherwise none."""
    faces: Literal["all", "largest", "central"] = "all"
    """Face task only: process all faces of each image, only the largest, or only a large one near the centre (central)."""


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command, which depend on the task."""
    return combine(PredictFlags, task_flags(words), engine=True)


def _source(text: str) -> Any:
    """Return a source as `zoo.predict` expects it: the number of a camera, standard input for "-", or the text."""
    if text == "-":
        return sys.stdin.buffer
    return int(text) if text.isdecimal() and not Path(text).exists() else text


def run(flags: Any) -> int:
    """Run the command and return its exit status."""
    from zoo.data.loader import pick_batch_size
    from zoo.prediction.output import write_predictions
    from zoo.prediction.predict import predict
    from zoo.system.hardware import pick_device

    inputs = list(flags.main.inputs)
    folder = Path(inputs.pop(0)) if inputs and flags.build.backbone is None else None
    if not inputs:
        raise InputError(
            "no sources given; usage: zoo predict MODEL SOURCE…, where SOURCE is an image, folder, video, list, URL or camera number"
        )
    skipped: list[Any] = []
    with progress_of(flags.run.quiet) as progress:
        built = saved_or_built(folder, flags, progress)
        model, precision = compiled(built, flags.engine, flags.run, flags.main.batch_size, progress)
        sources: list[Any] = [_source(text) for text in inputs]
        predictions = predict(
            model,
            sources[0] if len(sources) == 1 else sources,
            batch_size=flags.main.batch_size,
            precision=precision,
            threshold=flags.main.threshold,
            detector=flags.main.detector,
            faces=flags.main.faces,
            skipped=skipped,
            progress=progress,
            **flags.run.reading,
        )
        show = None if flags.run.json else lambda answer: print(json.dumps(answer))
        # up to one batch of predictions may be queued for writing; with fewer, the network would wait for the disk
        device = pick_device(flags.run.device, model.compiled)
        waiting = min(pick_batch_size(flags.main.batch_size, way.preprocess, device) for way in model.passes())
        answers = write_predictions(predictions, flags.main.out, show, keep=flags.run.json, waiting=waiting, hub=model.hub)
    for fault in skipped:
        print(f"skipped: {fault}", file=sys.stderr)
    if flags.run.json:
        print_json({"predictions": answers, "skipped": [fault.to_dict() for fault in skipped]})
    return 0
