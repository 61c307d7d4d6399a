"""`zoo data show`: a contact sheet of samples as the model will see them, after augmentation and preprocessing, with their targets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from zoo.arguments import parse
from zoo.command import print_json, progress_of
from zoo.contact_sheet import Seen, page, sheet
from zoo.data import Dataset, OnError, Record
from zoo.data_arguments import DataShowFlags
from zoo.data_ref import DataRef
from zoo.errors import Fault, InputError
from zoo.files import write_atomic, write_text
from zoo.loader import Batch, Batches, TrainingPlan, evaluation_loader, training_loader
from zoo.preprocess import ImageBatch, Preprocess, as_float
from zoo.recipe import Recipe, find_recipe
from zoo.sampling import Shuffled
from zoo.schemes import open_data
from zoo.task import Task, get_task

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SIDE = 448  # pixels: what originals are kept at


def seen(
    dataset: Dataset, task: Task, preprocess: Preprocess, recipe: Recipe | None, *, n: int, variants: int = 1, seed: int = 0,
    on_error: OnError = "raise",
) -> tuple[list[list[Seen]], list[Fault]]:  # fmt: skip
    """Pass samples through the very loaders that training and evaluation use.

    Args:
        dataset: the data.
        task: whose augmentation and targets.
        preprocess: of the model.
        recipe: training's settings: with it, samples come augmented; None for what evaluation sees.
        n: how many samples, drawn by the seed; the same whatever their order.
        variants: how often each is shown, augmented anew.
        seed: of the draw and of the augmentation.
        on_error: "skip" leaves out pictures that can't be read.

    Returns:
        One list of variants per sample, in the order of the data; and what was left out.

    Raises:
        ImageError: a picture can't be read.
    """
    drawn = sorted(dataset.records, key=lambda record: hashlib.sha256(f"{seed}:{record.key}".encode()).digest())[:n]
    chosen = {record.key for record in drawn}
    part = replace(dataset, records=tuple(record for record in dataset.records if record.key in chosen))
    shown: dict[str, list[Seen]] = {record.key: [] for record in part.records}
    lost: dict[str, Fault] = {}
    for batch in _batches(part, task, preprocess, recipe, variants, seed, on_error):
        lost |= {fault.key: fault for fault in batch.skipped}
        for one in _pictures(batch, dataset.classes):
            shown[one.key].append(one)
    return [variants for variants in shown.values() if variants], list(lost.values())


def _batches(
    part: Dataset, task: Task, preprocess: Preprocess, recipe: Recipe | None, variants: int, seed: int, on_error: OnError
) -> Batches:
    if recipe is None:
        return evaluation_loader(part, preprocess, 8, 0, on_error)
    plan = TrainingPlan(Shuffled(len(part), min(8, len(part)), 1), variants, seed)
    prepare = task.training_preprocess(recipe, preprocess)
    return training_loader(part, prepare, plan, 0, on_error, task.augment(recipe, prepare, part))


def _pictures(batch: Batch[ImageBatch], classes: Sequence[str]) -> Iterator[Seen]:
    if batch.images is None:
        return
    pixels = (as_float(batch.images.pixels).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    sizes = zip(batch.images.sizes_hw, batch.images.original_sizes_hw, strict=True)
    for image, (size, original), target, key in zip(pixels, sizes, batch.targets, batch.keys, strict=True):
        visible = np.ascontiguousarray(image[: size[0], : size[1]])
        if isinstance(target, Mapping):
            scale = np.array([size[1] / original[1], size[0] / original[0]] * 2, np.float32)
            yield Seen(key, visible, tuple(_named(classes, label) for label in target["labels"]), np.asarray(target["boxes"]) * scale)
        else:
            yield Seen(key, visible, () if target is None else (_named(classes, target),))


def originals(dataset: Dataset, keys: Sequence[str]) -> dict[str, Seen]:
    """Return samples as they lie in the data: upright, with their own boxes, neither augmented nor prepared.

    Args:
        dataset: the data.
        keys: which samples.

    Raises:
        ImageError: a picture can't be read.
    """
    wanted = set(keys)
    return {record.key: _original(record, dataset.classes) for record in dataset.records if record.key in wanted}


def _original(record: Record, classes: Sequence[str]) -> Seen:
    sample = record.load()
    height, width = sample.image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))  # whole phone photos would fill the memory
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.LANCZOS)) if scale < 1 else sample.image
    if isinstance(sample.target, Mapping):
        boxes = np.asarray(sample.target["boxes"], np.float32) * np.array([size[0] / width, size[1] / height] * 2, np.float32)
        return Seen(record.key, small, tuple(_named(classes, label) for label in sample.target["labels"]), boxes)
    return Seen(record.key, small, () if sample.target is None else (_named(classes, sample.target),))


def value_range(rows: Sequence[Sequence[Seen]], preprocess: Preprocess) -> tuple[float, float]:
    """Return the lowest and the highest value that the first layer gets from these pictures, after normalisation."""
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    ends = [end for variants in rows for one in variants for end in (one.image.min((0, 1)), one.image.max((0, 1)))]
    values = (np.stack(ends) / 255 - mean) / std
    return float(values.min()), float(values.max())


def _named(classes: Sequence[str], label: Any) -> str:
    return classes[int(label)] if 0 <= int(label) < len(classes) else str(label)


def show(words: list[str]) -> int:
    """Run the command, and return its exit status.

    Raises:
        InputError: the data, the model, the recipe or the place for the sheet is wrong.
    """
    from zoo.doctor.command import task_of

    flags = parse(DataShowFlags, "data show", words)
    if flags.n < 1 or flags.variants < 1:
        raise InputError(f"--n is {flags.n} and --variants {flags.variants}; expected 1 or more")
    if flags.out.suffix.lower() not in (*_FORMATS, ".html"):
        raise InputError(f"--out is {flags.out}; expected a file that ends in .png, .jpg, .webp or .html")
    if flags.plain and flags.variants > 1:
        raise InputError("--variants shows augmentation, and --plain is without; give one of them")
    on_error: OnError = "skip" if flags.skip_bad else "raise"
    with progress_of(flags.quiet) as progress:
        task, preprocess, known = _model(flags, task_of)
        dataset = open_data(flags.data, task.schemes, task.name, on_error, progress.say)
        preprocess = preprocess or _built(task, flags.backbone, dataset.classes)
        recipe = None if flags.plain else find_recipe(task.recipe, task.recipes, flags.recipe)
        rows, lost = seen(dataset, task, preprocess, recipe, n=flags.n, variants=flags.variants, seed=flags.seed, on_error=on_error)
        if not rows:
            raise InputError(f"data {flags.data!r}: none of the {flags.n} samples can be read")
        low, high = value_range(rows, preprocess)
        what = "as evaluation sees them" if flags.plain else "as training sees them, augmented"
        title = f"{dataset.name}: {len(rows)} of {len(dataset)} samples, {what}"
        if flags.original:
            title += ", beside the originals (left)"
            whole = originals(dataset, [row[0].key for row in rows])
            rows = [[whole[row[0].key], *row] for row in rows]
        _write(flags.out, rows, title, dataset.classes)
    skipped = [*dataset.skipped, *lost]
    if flags.json:
        about = {"file": str(flags.out), "keys": [row[0].key for row in rows], "preprocess": preprocess.to_dict(), "range": [low, high]}
        print_json({**about, "skipped": [fault.to_dict() for fault in skipped]})
        return 0
    for fault in skipped:
        print(f"left out: {fault}")
    height, width = preprocess.size_hw
    print(f"{flags.out}: {title}")
    print(
        f"{known}: {preprocess.policy} to {height}×{width}, {preprocess.interpolation}; the model normalises by itself "
        f"(mean {_numbers(preprocess.mean)}, deviation {_numbers(preprocess.std)}), to values from {low:.2f} to {high:.2f} here"
    )
    return 0


def _write(file: Path, rows: Sequence[Sequence[Seen]], title: str, classes: Sequence[str]) -> None:
    if file.suffix.lower() == ".html":
        write_text(file, page(rows, title, classes))
        return
    encoded = io.BytesIO()
    sheet(rows, title, classes).save(encoded, _FORMATS[file.suffix.lower()], quality=92)
    write_atomic(file, lambda opened: _put(opened, encoded.getvalue()))


def _put(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _model(flags: Any, task_of: Any) -> tuple[Task, Preprocess | None, str]:
    """Return the task, the preprocessing of a saved model, and what it is called."""
    from zoo.model_config import model_folder, read_description

    if flags.model is None:
        return get_task(flags.task or task_of(DataRef.parse(flags.data))), None, flags.backbone
    config = read_description(model_folder(flags.model))[0]
    return get_task(config.task), config.preprocess, str(flags.model)


def _built(task: Task, backbone: str, classes: Sequence[str]) -> Preprocess:
    from zoo.model import build

    return build(backbone, task.name, classes=list(classes) or None).preprocess
