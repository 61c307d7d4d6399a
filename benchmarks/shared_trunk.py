"""Compare models with several heads with separate models: `python -m zoo.benchmarks.shared_trunk`.

Time: one image through a detector with further heads or attributes and through the detector alone, which has the same weights, in turn, in
eager float32 and with an engine. The ratio is the median of the ratios of neighbouring calls, because the speed of a shared machine
changes. The weights are random and the score threshold is 0, so that all proposals are classified and the maximum number of boxes is
returned, as in a picture full of objects.

Memory: the peak of a process that loads a model and predicts, and the resident memory of a process with three tasks after loading, with one
model and with three. The resident memory is counted above that of a process that has imported everything and has run a tiny model of the
same kind, since torch alone needs several hundred MiB.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import zoo
from zoo import Model
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, flag, in_new_process, log, make_table, report, timed
from zoo.benchmarks.harness.measurement import peak_memory_mib
from zoo.engines import ENGINES
from zoo.errors import InputError
from zoo.images.decoding import Image
from zoo.system.threads import THREADS

_MIB = 2**20
_DETECTOR = {"objects": "detection"}
_ATTRIBUTES = {"colour": ["red", "green", "blue"], "size": ["small", "large"], "damaged": ["no", "yes"]}
_TIMED: dict[str, tuple[dict[str, str], dict[str, Any], float]] = {  # work: further heads, options, maximum ratio of the times
    "classification + detection": ({"scene": "classification"}, {}, 1.10),
    "two classifications + detection": ({"scene": "classification", "weather": "classification"}, {}, 1.12),
    "detection with three attributes": ({}, {"attributes": _ATTRIBUTES}, 1.03),
}
_PEAK, _RESIDENT = 1.15, 0.5  # maximum ratios of the peak memory and of the resident memory
_THREE = {"scene": "classification", **_DETECTOR, "person": "face"}


@dataclass(frozen=True)
class Setting:
    """Backbone and image size of all models."""

    backbone: str
    height: int  # shorter side of the image in pixels
    width: int

    def build(self, tasks: dict[str, str], **others: Any) -> Model:
        """Build a model with random weights. Heads without another size use the detector's preprocessing."""
        torch.manual_seed(0)
        classes = {"scene": 20, "weather": 5, "objects": 80, "person": 0}
        sizes = {name: {"detection": self.height, "face": 112}[kind] for name, kind in tasks.items() if kind != "classification"}
        options: dict[str, Any] = {"max_image_size": round(1333 / 800 * self.height), "score_threshold": 0.0} if "objects" in tasks else {}
        return zoo.build(self.backbone, tasks, num_classes={name: classes[name] for name in tasks}, image_size=sizes, **options, **others)

    def detector(self, joint: Model) -> Model:
        """Build the detector of a model alone, without attributes, with the same weights."""
        alone, weights = self.build(_DETECTOR), joint.state_dict()
        alone.load_state_dict({name: weights[name] for name in alone.state_dict()})
        return alone

    def image(self) -> Image:
        """Return an image of noise."""
        return np.random.default_rng(0).integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Row:
    """Figures of a joint model beside those of separate models, in milliseconds or MiB."""

    work: str
    figure: str  # what is measured
    engine: str
    joint: float
    separate: float
    ratio: float
    bound: float  # maximum ratio

    @property
    def met(self) -> bool:
        """Whether the ratio is within the bound."""
        return self.ratio <= self.bound


def milliseconds(model: Model, image: Image) -> float:
    """Return the time of a prediction."""
    with torch.inference_mode():
        return 1000 * timed(model, [image])[1]


def times(work: str, engine: str, joint: Model, alone: Model, image: Image, rounds: int, bound: float) -> Row:
    """Time two models in turn."""
    pairs = []
    with THREADS.held(torch.get_num_threads()):
        for number in range(-1, rounds):  # the first round is a warm-up
            order = (joint, alone) if number % 2 else (alone, joint)
            found = {id(model): milliseconds(model, image) for model in order}
            pairs += [(found[id(joint)], found[id(alone)])] if number >= 0 else []
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Row(work, "time, ms", engine, ours, theirs, statistics.median(one / other for one, other in pairs), bound)


def check_work(alone: Model, image: Image) -> tuple[int, int]:
    """Return the numbers of proposals and boxes of a detector. Raise an `InputError` unless it returns as many boxes as it may."""
    rows: list[int] = []
    network = alone.head.networks()["boxes"]

    def counted(pooled: torch.Tensor) -> Any:
        rows.append(len(pooled))
        return network(pooled)

    alone.head.replace({"boxes": counted})
    with torch.inference_mode():
        boxes = len(alone([image])[0]["boxes"])
    alone.head.replace({})
    limit = alone.config.options["max_detections"]
    if boxes < limit:
        raise InputError(f"the detector returns {boxes} boxes instead of {limit}, which takes less time; use a larger --side")
    return sum(rows), boxes


def peak(folder: Path, image: Image) -> float:
    """Return the peak memory of this process in MiB after loading a model and two predictions."""
    model = zoo.load(folder)
    for _ in range(2):
        milliseconds(model, image)
    return peak_memory_mib()


def resident(tiny: Sequence[Path], folders: Sequence[Path], image: Image) -> float:
    """Return the memory in MiB that loaded models add to a process that has run tiny models of the same kind."""
    small = np.zeros((64, 64, 3), np.uint8)
    for folder in tiny:
        milliseconds(zoo.load(folder), small)
    gc.collect()
    before = psutil.Process().memory_info().rss
    models = [zoo.load(folder) for folder in folders]
    for model in models if any(model.compiled for model in models) else ():
        milliseconds(model, image)  # an engine reads a graph when it is first called
    gc.collect()
    return float(psutil.Process().memory_info().rss - before) / _MIB


def separated(joint: Model) -> list[Model]:
    """Return one model for each head."""
    return [zoo.split(joint, name) for name in joint.heads]


@dataclass
class Engines:
    """Compilation of all models for the same engine, that which is fastest for the first of them."""

    engine: str
    precision: Any = "auto"

    def compile(self, model: Model) -> Model:
        """Compile a model."""
        compiled = zoo.compile(model, self.engine, self.precision, say=log)
        self.engine, self.precision = compiled.making.engine, compiled.making.precision
        return compiled

    @property
    def name(self) -> str:
        """Engine and precision."""
        return f"{self.engine}, {self.precision}"


def rows_of(setting: Setting, engines: Engines | None, rounds: int, scratch: Path) -> Iterator[Row]:
    """Measure everything in eager float32, or with an engine if one is passed."""
    image, name = setting.image(), "eager, fp32"

    def ready(model: Model) -> Model:
        return model if engines is None else engines.compile(model)

    def saved(model: Model) -> Path:
        return zoo.save(ready(model), Path(tempfile.mkdtemp(dir=scratch)) / "model")

    first = ""
    for work, (heads, options, bound) in _TIMED.items():
        joint = setting.build({**heads, **_DETECTOR}, **options)
        alone = setting.detector(joint)
        compared = ready(alone), ready(joint)
        name = name if engines is None else engines.name
        yield times(work, name, compared[1], compared[0], image, rounds, bound)
        if not first:
            first = work
            theirs, ours = (in_new_process(peak, zoo.save(each, scratch / name / str(place)), image) for place, each in enumerate(compared))
            yield Row(work, "peak memory, MiB", name, ours, theirs, ours / theirs, _PEAK)
        del joint, alone, compared
        gc.collect()
    tiny, joint = Setting("resnet20", 64, 64).build(_THREE), setting.build(_THREE)
    warm = [saved(each) for each in (tiny, *separated(tiny))]
    ours = in_new_process(resident, warm, [saved(joint)], image)
    theirs = in_new_process(resident, warm, [saved(each) for each in separated(joint)], image)
    yield Row("classification + detection + face", "resident memory, MiB", name, ours, theirs, ours / theirs, _RESIDENT)


@benchmark(
    flag("--backbone", default="resnet50", help="backbone of all models"),
    count_flag("--side", 800, 64, 4000, "shorter side of the image in pixels; the longer side is 4/3 of it"),
    count_flag("--rounds", 15, 1, 1000, "number of calls of each model that are timed"),
    flag("--engine", default="auto", choices=("auto", "none", *(each for each in ENGINES if each != "eager")), help="engine beside eager"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all ratios are within their bounds, 1 if not."""
    setting = Setting(flags.backbone, flags.side, flags.side * 4 // 3)
    proposals, boxes = check_work(setting.build(_DETECTOR), setting.image())
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for engines in (None, *([] if flags.engine == "none" else [Engines(flags.engine)])):
            for row in rows_of(setting, engines, flags.rounds, Path(scratch)):
                rows.append(row)
                log(f"{row.work}, {row.figure}, {row.engine}: {row.ratio:.3f}")
    title = f"{setting.backbone}, {setting.height}×{setting.width}, {proposals} proposals, {boxes} boxes, {torch.get_num_threads()} threads"
    table = make_table(title, ("work", "figure", "engine", "one model", "separate", "ratio", "at most", ""))
    for row in rows:
        figures = (f"{row.joint:.4g}", f"{row.separate:.4g}", f"{row.ratio:.3f}", f"{row.bound:g}", "met" if row.met else "missed")
        table.add_row(row.work, row.figure, row.engine, *figures)
    met = all(row.met for row in rows)
    content = {"proposals": proposals, "boxes": boxes, "rows": [{**asdict(row), "met": row.met} for row in rows], "met": met}
    return report(flags.json, content, table, met=met, width=160)


if __name__ == "__main__":
    raise SystemExit(main())
