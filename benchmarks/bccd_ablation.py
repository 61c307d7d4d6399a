"""Compare training configurations of a detector at equal training time: `python -m zoo.benchmarks.bccd_ablation`.

For each configuration, a ResNet-18 detector is trained from the same random weights on BCCD's `train` split for the same time, and
evaluated on `val` and `test`. The configurations were selected after shorter trials in which both scores were visible. docs/benchmarks.md
lists the rejected ones.

Time is CPU time on one core, so that other work on the machine doesn't favour any configuration. On an idle machine it equals wall-clock
time. Before training starts, the time per image is measured for all configurations, interleaved. It determines the number of training
images, so that every learning rate schedule is completed within its time.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.benchmarks.harness.command import Flags, benchmark, data_flag, flag, log, make_table, report
from zoo.data.dataset import Dataset
from zoo.task.contract import get_task
from zoo.tasks.detection.training.recipe import DetectionRecipe


@dataclass(frozen=True)
class Row:
    """Training configuration: recipe and model options."""

    recipe: DetectionRecipe
    options: Mapping[str, Any] = field(default_factory=dict)  # model options other than the image size


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
_SHORT, _LONG = 4, 24  # number of images in two runs, from whose difference in time the time per image is computed
_TURNS = 3  # number of measurements of the time per image


@dataclass(frozen=True)
class Outcome:
    """Result of one configuration."""

    name: str
    pictures: int  # number of training images, counting repetitions
    seconds: float  # CPU time of the training in seconds
    clock: float  # wall-clock time of the training in seconds
    ap50: Mapping[str, float]  # AP50 by split
    intervals: Mapping[str, tuple[float, float]]  # 95 % confidence interval of AP50 by split


def repeated(dataset: Dataset, pictures: int) -> Dataset:
    """Repeat the images of a dataset up to `pictures` images, so that one epoch can have any number of steps."""
    records, count = dataset.records, len(dataset.records)
    chosen = ((records[index % count], index // count) for index in range(pictures))
    return replace(dataset, records=tuple(replace(record, key=f"{record.key}#{turn}") for record, turn in chosen))


def train(dataset: Dataset, row: Row, image_size: int, folder: Path) -> tuple[zoo.Model, float, float]:
    """Train a new model for one epoch; return the model, the CPU time and the wall-clock time, both in seconds."""
    torch.manual_seed(0)
    model = zoo.build("resnet18", task="detection", classes=_CLASSES, image_size=image_size, **row.options)
    clock, processor = time.perf_counter(), time.process_time()
    run = zoo.train(model, dataset, recipe=row.recipe, out=folder, device="cpu")
    return run.model, time.process_time() - processor, time.perf_counter() - clock


def seconds_per_picture(dataset: Dataset, rows: Sequence[str], image_size: int, scratch: Path) -> dict[str, float]:
    """Time all configurations in turn; return the shortest time per image of each in seconds, because other load only adds time."""

    def once(name: str, turn: int) -> float:
        folders = {pictures: scratch / f"{name}-{turn}-{pictures}" for pictures in (_SHORT, _LONG)}
        short, long = (train(repeated(dataset, count), ROWS[name], image_size, folder)[1] for count, folder in folders.items())
        return (long - short) / (_LONG - _SHORT)

    measured = [{name: once(name, turn) for name in rows} for turn in range(_TURNS)]
    return {name: min(turn[name] for turn in measured) for name in rows}


def run(data: Path, minutes: float, image_size: int, rows: Sequence[str]) -> list[Outcome]:
    """Train each configuration for `minutes` of CPU time and evaluate it. `data` is the folder that contains `bccd`."""
    torch.set_num_threads(1)
    task = get_task("detection")
    cells = f"voc:{data / 'bccd'}"
    dataset = task.open(f"{cells}?split=train", "skip")
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        pace = seconds_per_picture(dataset, rows, image_size, Path(scratch))
        log(", ".join(f"{name} {seconds:.3f} s" for name, seconds in pace.items()) + " per image")
        for name in rows:
            pictures = max(_LONG, round(60 * minutes / pace[name]))
            model, seconds, clock = train(repeated(dataset, pictures), ROWS[name], image_size, Path(scratch) / name)
            scores = {part: zoo.evaluate(model, f"{cells}?split={part}", on_error="skip") for part in ("val", "test")}
            ap50 = {part: float(score["AP50"] or 0) for part, score in scores.items()}
            intervals = {part: score.intervals["AP50"] for part, score in scores.items()}
            outcomes.append(Outcome(name, pictures, seconds, clock, ap50, intervals))
            log(json.dumps(asdict(outcomes[-1])))
    return outcomes


@benchmark(
    data_flag("bccd/"),
    flag("--minutes", type=float, default=5.0, help="training time of each configuration in minutes of CPU time"),
    flag("--image-size", type=int, default=160, help="shorter side of the images in pixels"),
    flag("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="configurations to run; all by default"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0, or 2 if the data doesn't exist."""
    outcomes = run(flags.data, flags.minutes, flags.image_size, flags.rows)
    rows = []
    for outcome in outcomes:
        scores = [f"{outcome.ap50[part]:.3f} [{low:.3f}, {high:.3f}]" for part, (low, high) in outcome.intervals.items()]
        rows.append((outcome.name, f"{outcome.pictures}", f"{outcome.seconds:.0f}", f"{outcome.clock:.0f}", *scores))
    title = f"AP50 on BCCD after {flags.minutes:g} minutes of one core, with 95 % confidence intervals"
    table = make_table(title, ("", "images", "CPU s", "clock s", "val", "test"), rows)
    content = {"rows": [asdict(outcome) for outcome in outcomes], "minutes": flags.minutes, "image_size": flags.image_size}
    return report(flags.json, content, table)


if __name__ == "__main__":
    raise SystemExit(main())
