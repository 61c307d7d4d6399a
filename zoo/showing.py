"""`zoo data show`: a contact sheet of samples as the model will see them, after augmentation and preprocessing, with their targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zoo.arguments import DataShowFlags, parse
from zoo.command import print_json, progress_of
from zoo.data import Dataset, OnError
from zoo.data_ref import DataRef
from zoo.drawing import font
from zoo.errors import Fault, InputError
from zoo.loader import Batch, Batches, TrainingPlan, evaluation_loader, training_loader
from zoo.preprocess import Preprocess, as_float
from zoo.recipe import Recipe, read_toml
from zoo.schemes import open_data
from zoo.task import Task, get_task

_CELL, _GAP, _TEXT = 224, 10, 13  # pixels
_PAPER, _INK, _GREY = (250, 250, 251), (28, 32, 36), (120, 128, 136)
_COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207), (227, 119, 194), (188, 189, 34))
_NAMED = 8  # boxes: with more, names would hide the picture
_NARROW = 24  # pixels: narrower boxes get no name


@dataclass(frozen=True)
class Seen:
    """One picture as the model gets it.

    Attributes:
        key: of the sample.
        image: [h, w, 3] uint8, RGB, without padding; normalisation is part of the model and comes after this.
        labels: names of its class, or of its boxes.
        boxes_xyxy: [N, 4] in pixels of `image`; None where the task has none.
    """

    key: str
    image: NDArray[np.uint8]
    labels: tuple[str, ...]
    boxes_xyxy: NDArray[np.float32] | None = None


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
    plan = TrainingPlan(len(part), variants, min(8, len(part)), seed)
    return training_loader(part, preprocess, plan, 0, on_error, task.augment(recipe, preprocess))


def _pictures(batch: Batch, classes: Sequence[str]) -> Iterator[Seen]:
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


def _named(classes: Sequence[str], label: Any) -> str:
    return classes[int(label)] if 0 <= int(label) < len(classes) else str(label)


def sheet(rows: Sequence[Sequence[Seen]], title: str, classes: Sequence[str]) -> Image.Image:
    """Lay pictures out on one sheet, with a class's boxes in one colour; variants of a sample stand side by side.

    Args:
        rows: variants of each sample.
        title: what stands above.
        classes: names, whose place decides the colour.
    """
    each = max(len(variants) for variants in rows)
    columns = max(1, round(6 / each)) if each > 1 else min(6, len(rows))
    cell_h = _CELL + 3 * _TEXT
    width = columns * (each * (_CELL + 4) - 4) + (columns + 1) * _GAP
    lines = -(-len(rows) // columns)
    page = Image.new("RGB", (width, 3 * _TEXT + lines * (cell_h + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, _TEXT // 2 + 2), title, fill=_INK, font=font(_TEXT + 2))
    for index, variants in enumerate(rows):
        left = _GAP + (index % columns) * (each * (_CELL + 4) - 4 + _GAP)
        top = 3 * _TEXT + (index // columns) * (cell_h + _GAP)
        for place, one in enumerate(variants):
            page.paste(_cell(one, classes), (left + place * (_CELL + 4), top))
        room = each * (_CELL + 4)
        _label(draw, (left, top + _CELL + 3), variants[0], classes, room)
        draw.text((left, top + _CELL + 4 + _TEXT * 5 // 4), _cut(variants[0].key, room), fill=_GREY, font=font(_TEXT - 2))
    return page


def _cell(one: Seen, classes: Sequence[str]) -> Image.Image:
    """Return a picture in the middle of a square, its boxes drawn after it was scaled so that lines stay thin and names readable."""
    height, width = one.image.shape[:2]
    scale = _CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    square = Image.new("RGB", (_CELL, _CELL), (232, 234, 237))
    offset = ((_CELL - size[0]) // 2, (_CELL - size[1]) // 2)
    square.paste(Image.fromarray(one.image).resize(size, method), offset)
    draw = ImageDraw.Draw(square)
    for box, name in zip(one.boxes_xyxy if one.boxes_xyxy is not None else [], one.labels, strict=False):
        colour = _colour(name, classes)
        left, top, right, bottom = (float(side) * scale + offset[place % 2] for place, side in enumerate(box))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
        if len(one.labels) <= _NAMED and right - left > _NARROW:
            draw.text((left + 3, top + 2), name, fill=colour, font=font(11))
    return square


def _label(draw: ImageDraw.ImageDraw, place: tuple[int, int], one: Seen, classes: Sequence[str], room: int) -> None:
    """Write the class, or how many boxes there are of each, in the colour of the boxes."""
    if one.boxes_xyxy is None or not one.labels:
        draw.text(place, _cut(", ".join(one.labels) or "nothing in it", room), fill=_INK, font=font(_TEXT))
        return
    left = float(place[0])
    for name in dict.fromkeys(one.labels):
        text = f"{one.labels.count(name)} {name}  "
        if left + draw.textlength(text, font=font(_TEXT)) > place[0] + room:
            draw.text((left, place[1]), "…", fill=_INK, font=font(_TEXT))
            return
        draw.text((left, place[1]), text, fill=_colour(name, classes), font=font(_TEXT))
        left += draw.textlength(text, font=font(_TEXT))


def _colour(name: str, classes: Sequence[str]) -> tuple[int, int, int]:
    return _COLOURS[(classes.index(name) if name in classes else 0) % len(_COLOURS)]


def _cut(text: str, room: int) -> str:
    most = max(8, room * 2 // _TEXT)
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"


def show(words: list[str]) -> int:
    """Run the command, and return its exit status.

    Raises:
        InputError: the data, the model, the recipe or the place for the sheet is wrong.
    """
    from zoo.doctor.command import task_of

    flags = parse(DataShowFlags, "data show", words)
    if flags.n < 1 or flags.variants < 1:
        raise InputError(f"--n is {flags.n} and --variants {flags.variants}; expected 1 or more")
    if flags.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--out is {flags.out}; expected a file that ends in .png, .jpg or .webp")
    if flags.plain and flags.variants > 1:
        raise InputError("--variants shows augmentation, and --plain is without; give one of them")
    on_error: OnError = "skip" if flags.skip_bad else "raise"
    with progress_of(flags.quiet) as progress:
        task, preprocess, known = _model(flags, task_of)
        dataset = open_data(flags.data, task.schemes, task.name, on_error, progress.say)
        preprocess = preprocess or _built(task, flags.backbone, dataset.classes)
        recipe = None if flags.plain else (read_toml(flags.recipe, task.recipe) if flags.recipe is not None else task.recipe())
        rows, lost = seen(dataset, task, preprocess, recipe, n=flags.n, variants=flags.variants, seed=flags.seed, on_error=on_error)
        if not rows:
            raise InputError(f"data {flags.data!r}: none of the {flags.n} samples can be read")
        what = "as evaluation sees them" if flags.plain else "as training sees them, augmented"
        title = f"{dataset.name}: {len(rows)} of {len(dataset)} samples, {what}"
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        sheet(rows, title, dataset.classes).save(flags.out)
    skipped = [*dataset.skipped, *lost]
    if flags.json:
        about = {"file": str(flags.out), "keys": [row[0].key for row in rows], "preprocess": preprocess.to_dict()}
        print_json({**about, "skipped": [fault.to_dict() for fault in skipped]})
        return 0
    for fault in skipped:
        print(f"left out: {fault}")
    height, width = preprocess.size_hw
    print(f"{flags.out}: {title}")
    print(
        f"{known}: {preprocess.policy} to {height}×{width}, {preprocess.interpolation}; the model normalises by itself "
        f"(mean {_numbers(preprocess.mean)}, deviation {_numbers(preprocess.std)})"
    )
    return 0


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _model(flags: Any, task_of: Any) -> tuple[Task, Preprocess | None, str]:
    """Return the task, the preprocessing of a saved model, and what it is called."""
    from zoo.model import model_folder, read_description

    if flags.model is None:
        return get_task(flags.task or task_of(DataRef.parse(flags.data))), None, flags.backbone
    config = read_description(model_folder(flags.model))[0]
    return get_task(config.task), config.preprocess, str(flags.model)


def _built(task: Task, backbone: str, classes: Sequence[str]) -> Preprocess:
    from zoo.model import build

    return build(backbone, task.name, classes=list(classes) or None).preprocess
