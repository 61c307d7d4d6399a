"""The `zoo predict` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from zoo.cli.context import compiled, print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import PredictFlags, combine
from zoo.errors import InputError


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command, which depend on the task."""
    task = task_flags(words)
    return combine("Predict", PredictFlags, task, answers=True)


def run(flags: Any) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: a flag, the model or a source is invalid.
        ImageError: an image can't be read, without --skip-bad.
    """
    from zoo.data.loader import pick_batch_size
    from zoo.prediction.output import write_predictions
    from zoo.prediction.predict import predict
    from zoo.system.hardware import pick_device

    inputs = list(flags.main.inputs)
    folder = Path(inputs.pop(0)) if inputs and flags.build.backbone is None else None
    if not inputs:
        raise InputError(
            "no sources given; usage: zoo predict MODEL SOURCE…, where SOURCE is an image, a folder, a video or a camera's device index"
        )
    skipped: list[Any] = []
    with progress_of(flags.run.quiet) as progress:
        built = saved_or_built(folder, flags, progress)
        model, precision = compiled(built, flags.engine, flags.run, flags.main.batch_size, progress)
        sources: list[Any] = [int(source) if source.isdecimal() and not Path(source).exists() else source for source in inputs]
        predictions = predict(
            model,
            sources[0] if len(sources) == 1 else sources,
            batch_size=flags.main.batch_size,
            precision=precision,
            device=flags.run.device,
            on_error="skip" if flags.run.skip_bad else "raise",
            exact=flags.run.exact,
            max_pixels=flags.run.max_pixels,
            detector=flags.main.detector,
            faces=flags.main.faces,
            skipped=skipped,
            progress=progress,
        )
        show = None if flags.run.json else lambda answer: print(json.dumps(answer))
        # up to one batch of predictions may be queued for writing; with fewer, the network would wait for the disk
        waiting = pick_batch_size(flags.main.batch_size, model.preprocess, pick_device(flags.run.device, model.compiled))
        answers = write_predictions(predictions, flags.main.out, show, keep=flags.run.json, waiting=waiting)
    for fault in skipped:
        print(f"skipped: {fault}", file=sys.stderr)
    if flags.run.json:
        print_json({"predictions": answers, "skipped": [fault.to_dict() for fault in skipped]})
    return 0
