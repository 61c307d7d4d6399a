"""The `zoo data show` command."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from zoo.cli.context import print_json, progress_of
from zoo.cli.data.check import task_of
from zoo.cli.data.flags import DataShowFlags
from zoo.curation.show import originals, seen, value_range
from zoo.data.dataset import OnError
from zoo.data.formats import DataRef
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.builder import build
from zoo.models.config import model_folder, read_description
from zoo.report.sheet import Seen, page, sheet
from zoo.system.files import write_atomic, write_text
from zoo.task.contract import Task, get_task
from zoo.task.recipe import find_recipe

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def show(flags: DataShowFlags) -> int:
    """Run the command and return its exit status."""
    if flags.n < 1 or flags.variants < 1:
        raise InputError(f"--n is {flags.n} and --variants {flags.variants}; expected 1 or more")
    if flags.out.suffix.lower() not in (*_FORMATS, ".html"):
        raise InputError(f"--out is {flags.out}; expected a file name that ends in .png, .jpg, .webp or .html")
    if flags.plain and flags.variants > 1:
        raise InputError("--variants shows augmentation and --plain disables it; pass only one of them")
    on_error: OnError = "skip" if flags.skip_bad else "raise"
    with progress_of(flags.quiet) as progress:
        task, preprocess, known = _model(flags)
        dataset = task.open(flags.data, on_error, progress.say)
        preprocess = preprocess or build(flags.backbone, task.name, classes=list(dataset.classes) or None).preprocess
        recipe = None if flags.plain else find_recipe(task.data.recipe, task.data.recipes, flags.recipe)
        rows, lost = seen(dataset, task, preprocess, recipe, n=flags.n, variants=flags.variants, seed=flags.seed, on_error=on_error)
        if not rows:
            raise InputError(f"data {flags.data!r}: none of the {flags.n} samples can be read")
        low, high = value_range(rows, preprocess)
        what = "as in evaluation" if flags.plain else "as in training, with augmentation"
        title = f"{dataset.name}: {len(rows)} of {len(dataset)} samples, {what}"
        if flags.original:
            title += ", next to the originals (left)"
            whole = originals(dataset, [row[0].key for row in rows], task)
            rows = [[whole[row[0].key], *row] for row in rows]
        _write(flags.out, rows, title, dataset.classes)
    skipped = [*dataset.skipped, *lost]
    if flags.json:
        about = {"file": str(flags.out), "keys": [row[0].key for row in rows], "preprocess": preprocess.to_dict(), "range": [low, high]}
        print_json({**about, "skipped": [fault.to_dict() for fault in skipped]})
        return 0
    for fault in skipped:
        print(f"skipped: {fault}")
    height, width = preprocess.size_hw
    print(f"{flags.out}: {title}")
    print(
        f"{known}: {preprocess.policy} to {height}×{width}, {preprocess.interpolation}; the model normalises its input itself "
        f"(mean {_numbers(preprocess.mean)}, standard deviation {_numbers(preprocess.std)}), here to values from {low:.2f} to {high:.2f}"
    )
    return 0


def _write(file: Path, rows: Sequence[Sequence[Seen]], title: str, classes: Sequence[str]) -> None:
    if file.suffix.lower() == ".html":
        write_text(file, page(rows, title, classes))
        return
    encoded = io.BytesIO()
    sheet(rows, title, classes).save(encoded, _FORMATS[file.suffix.lower()], quality=92)
    write_atomic(file, lambda opened: opened.write(encoded.getvalue()))


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _model(flags: DataShowFlags) -> tuple[Task, Preprocess | None, str]:
    """Return the task, the preprocessing (None without a saved model), and the name of the model or backbone."""
    if flags.model is None:
        return get_task(flags.task_name or task_of(DataRef.parse(flags.data)), flags.options), None, flags.backbone
    config = read_description(model_folder(flags.model))[0]
    return get_task(config.task, config.options), config.preprocess, str(flags.model)
