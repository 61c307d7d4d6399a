"""Which ingredients of a detector's training find more blood cells in the same time: `python -m zoo.benchmarks.bccd_ablation`.

Every row trains the same ResNet-18 detector from the same random weights on BCCD's `train` for the same time, and is scored on `val`
and on `test`. These rows were picked after shorter trials in which both scores were in view: the README names what fell behind.

The time is that of one processor core, which on an idle machine is the clock's: others at work on the machine take nothing from any
row. How many pictures fit into it is measured for all rows in turns before the first one trains, so that every learning rate ends at
nought just in time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import zoo
from zoo.data.dataset import Dataset, Record
from zoo.data.formats import open_data
from zoo.errors import ZooError
from zoo.models.model import Model
from zoo.task.contract import get_task
from zoo.tasks.detection.training.recipe import DetectionRecipe


@dataclass(frozen=True)
class Row:
    """What one row trains with.

    Attributes:
        recipe: how.
        options: of the model, beside the image size.
    """

    recipe: DetectionRecipe
    options: Mapping[str, Any] = field(default_factory=dict)


_PLAIN = DetectionRecipe(workers=0, epochs=1, batch_size=4, scale_min=1.0, jitter_min=1.0, ema=0.0)
_PAIRS = replace(_PLAIN, batch_size=2)
_LARGE, _SMALL = {"anchor_scale": 8}, {"anchor_scale": 4}
ROWS: Mapping[str, Row] = {
    "plain": Row(_PLAIN, _LARGE),
    "small anchors": Row(_PLAIN, _SMALL),
    "batches of 2": Row(_PAIRS, _LARGE),
    "small anchors, batches of 2": Row(_PAIRS, _SMALL),
    "the same, EMA": Row(replace(_PAIRS, ema=0.99), _SMALL),
}
_CLASSES = ("Platelets", "RBC", "WBC")
_SHORT, _LONG = 4, 24  # pictures of the two runs whose difference tells the time per picture
_TURNS = 3


@dataclass(frozen=True)
class Outcome:
    """One row of the table.

    Attributes:
        name: of the row.
        pictures: that it was trained on, repeats counted.
        seconds: of processor time that the training took.
        clock: seconds by the clock.
        ap50: part of the data to AP50.
        intervals: part of the data to the 95 % interval of AP50.
    """

    name: str
    pictures: int
    seconds: float
    clock: float
    ap50: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


def repeated(dataset: Dataset, pictures: int) -> Dataset:
    """Return a data set of so many pictures, the given ones over and over: one epoch of it is any number of steps."""
    records = dataset.records
    return replace(dataset, records=tuple(_again(records[index % len(records)], index // len(records)) for index in range(pictures)))


def _again(record: Record, time_over: int) -> Record:
    return replace(record, key=f"{record.key}#{time_over}")


def train(dataset: Dataset, row: Row, image_size: int, folder: Path) -> tuple[Model, float, float]:
    """Train a fresh model for one pass over the data.

    Returns:
        The model, the seconds of processor time, and those of the clock.
    """
    torch.manual_seed(0)
    model = zoo.build("resnet18", task="detection", classes=_CLASSES, image_size=image_size, **row.options)
    clock, processor = time.perf_counter(), time.process_time()
    run = zoo.train(model, dataset, recipe=row.recipe, out=folder, device="cpu")
    return run.model, time.process_time() - processor, time.perf_counter() - clock


def seconds_per_picture(dataset: Dataset, rows: Sequence[str], image_size: int, scratch: Path) -> dict[str, float]:
    """Measure the rows in turns, and return the quickest of each: other work on the machine only ever adds."""

    def once(name: str, turn: int) -> float:
        seconds = [
            train(repeated(dataset, pictures), ROWS[name], image_size, scratch / f"{name}-{turn}-{pictures}")[1]
            for pictures in (_SHORT, _LONG)
        ]
        return (seconds[1] - seconds[0]) / (_LONG - _SHORT)

    measured = [{name: once(name, turn) for name in rows} for turn in range(_TURNS)]
    return {name: min(turn[name] for turn in measured) for name in rows}


def run(data: Path, minutes: float, image_size: int, rows: Sequence[str], say: Callable[[str], None]) -> list[Outcome]:
    """Train and score the rows.

    Args:
        data: the folder with `bccd`.
        minutes: of each row's training.
        image_size: the shorter side of the pictures in pixels.
        rows: names from `ROWS`.
        say: told what has been done.

    Raises:
        DataError: the data isn't there.
    """
    torch.set_num_threads(1)
    task = get_task("detection")
    cells = f"voc:{data / 'bccd'}"
    dataset = open_data(f"{cells}?split=train", task.schemes, task.name, "skip")
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        pace = seconds_per_picture(dataset, rows, image_size, Path(scratch))
        say(", ".join(f"{name} {seconds:.3f} s" for name, seconds in pace.items()) + " a picture")
        for name in rows:
            pictures = max(_LONG, round(60 * minutes / pace[name]))
            model, seconds, clock = train(repeated(dataset, pictures), ROWS[name], image_size, Path(scratch) / name)
            scores = {part: zoo.evaluate(model, f"{cells}?split={part}", on_error="skip") for part in ("val", "test")}
            ap50 = {part: float(score["AP50"] or 0) for part, score in scores.items()}
            outcomes.append(
                Outcome(name, pictures, seconds, clock, ap50, {part: score.intervals["AP50"] for part, score in scores.items()})
            )
            say(json.dumps(asdict(outcomes[-1])))
    return outcomes


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0, or 2 where the data isn't there.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.bccd_ablation", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with bccd/")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of each row")
    parser.add_argument("--image-size", type=int, default=160, help="shorter side of the pictures in pixels")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which rows")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = parser.parse_args(argv)
    try:
        outcomes = run(flags.data, flags.minutes, flags.image_size, flags.rows, lambda text: print(text, file=sys.stderr, flush=True))
    except ZooError as error:
        print(f"bccd_ablation: {error}", file=sys.stderr)
        return error.exit_status
    if flags.json:
        print(json.dumps({"rows": [asdict(outcome) for outcome in outcomes], "minutes": flags.minutes, "image_size": flags.image_size}))
    else:
        _print(outcomes, flags.minutes)
    return 0


def _print(outcomes: Sequence[Outcome], minutes: float) -> None:
    title = f"AP50 on BCCD after {minutes:g} minutes of one core, with 95 % intervals"
    table = Table("", "pictures", "seconds", "by the clock", "val", "test", title=title, title_justify="left")
    for outcome in outcomes:
        scores = [f"{outcome.ap50[part]:.3f} [{low:.3f}, {high:.3f}]" for part, (low, high) in outcome.intervals.items()]
        table.add_row(outcome.name, f"{outcome.pictures}", f"{outcome.seconds:.0f}", f"{outcome.clock:.0f}", *scores)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
