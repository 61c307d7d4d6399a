"""Compare the speed of prediction for photos of many sizes and of one size: `python -m zoo.benchmarks.photo_sizes`.

Two folders of images are generated from a folder of photos. In the first, all images have different sizes, with aspect ratios from 1:2 to
2:1. In the second, all have the same size, chosen so that the model processes the same number of pixels on average. A detector runs on both
folders, decoding and writing included. It alternates between twenty images of each, because the speed of a shared machine may change by a
factor of two within half a minute. The first pass over all images is reported separately, because every size is then new to the engine.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import torch

from zoo import Model, build, predict
from zoo.benchmarks.harness.command import Flags, benchmark, flag, make_table, report
from zoo.benchmarks.harness.inputs import ENGINE_FLAGS, computed, photo_files, setting
from zoo.benchmarks.prediction_pipeline import travel
from zoo.errors import check_positive
from zoo.images import decoding
from zoo.images.preprocess import Preprocess

BOUND = 1.3  # target: maximum ratio of the times
_TURN = 20  # number of images of one folder before switching to the other
_AREA = 480 * 640  # pixels per photo
_RATIO = 2.0  # maximum aspect ratio

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """Times of all passes over both folders."""

    pictures: int  # number of images per folder
    shapes: int  # number of different model input shapes in the folder of many sizes
    many_s: tuple[float, ...]  # seconds of each pass over the images of many sizes
    equal_s: tuple[float, ...]  # seconds of each pass over the images of one size

    @property
    def first(self) -> float:
        """Time of the first pass over many sizes divided by the time of the first pass over one size."""
        return self.many_s[0] / self.equal_s[0]

    @property
    def ratio(self) -> float:
        """Median time of a pass over many sizes divided by the median time of a pass over one size."""
        return statistics.median(self.many_s) / statistics.median(self.equal_s)

    @property
    def met(self) -> bool:
        """Whether both ratios are within the target."""
        return max(self.first, self.ratio) <= BOUND


def sizes(count: int) -> list[SizeHW]:
    """Return `count` image sizes with about the same area and aspect ratios from 1:2 to 2:1. The result is deterministic."""
    ratios = _RATIO ** np.random.default_rng(0).permutation(np.linspace(-1, 1, count))
    return [(round(math.sqrt(_AREA * ratio)), round(math.sqrt(_AREA / ratio))) for ratio in ratios]


def equal_size(several: Sequence[SizeHW], preprocess: Preprocess) -> SizeHW:
    """Return a landscape image size for which the model's input has as many pixels as the mean input for the given sizes."""
    seen = [preprocess.resized_hw(*size) for size in several]
    height = min(size[0] for size in several)
    return height, round(height * statistics.mean(high * wide for high, wide in seen) / min(preprocess.size_hw) ** 2)


def compare(model: Model, photos: Path, pictures: int, rounds: int, batch_size: int | None = None) -> Comparison:
    """Run a detector on the CPU over two folders of generated images alternately, with `rounds` passes over each folder."""
    check_positive("photo_sizes", pictures=pictures, rounds=rounds)
    files, many = photo_files(photos), sizes(pictures)
    equal = [equal_size(many, model.preprocess)] * pictures
    with tempfile.TemporaryDirectory() as scratch:
        folders = [_scaled(files, wanted, Path(scratch) / name) for name, wanted in (("many", many), ("equal", equal))]
        next(iter(predict(model, folders[1][0], batch_size=batch_size, device="cpu")))  # selects kernels, compiles an engine
        passes = [_pass(model, folders, batch_size) for _ in range(rounds)]
    shapes = {model.preprocess.resized_hw(*size) for size in many}
    return Comparison(pictures, len(shapes), tuple(one for one, _ in passes), tuple(other for _, other in passes))


def _pass(model: Model, folders: Sequence[Sequence[Path]], batch_size: int | None) -> list[float]:
    """Run one pass over both folders and return the seconds for each folder."""
    seconds = [0.0, 0.0]
    for turn, parts in enumerate(zip(*folders, strict=True)):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds[side] += travel(model, parts[side], len(list(parts[side].iterdir())), batch_size, True).seconds
    return seconds


def _scaled(files: Sequence[Path], wanted: Sequence[SizeHW], folder: Path) -> list[Path]:
    """Write photos resized to the given sizes and return the folders, each with `_TURN` images."""
    photos = cycle([decoding.read(path) for path in files[:16]])  # repeated decoding would take longer than the benchmark itself
    for index, (photo, (height, width)) in enumerate(zip(photos, wanted, strict=False)):
        part = folder / f"{index // _TURN:03d}"
        part.mkdir(parents=True, exist_ok=True)
        scaled = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(part / f"{index:06d}.jpg"), cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR))
    return sorted(folder.iterdir())


@benchmark(
    flag("--pictures", type=int, default=200, help="number of images per folder"),
    flag("--rounds", type=int, default=3, help="number of passes over each folder"),
    *ENGINE_FLAGS,
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if both ratios are within the target, 1 if not, 2 if the input is invalid."""
    torch.manual_seed(0)
    model = build(flags.backbone, "detection", classes=[f"class {index}" for index in range(80)])
    found = compare(computed(model, flags), flags.photos, flags.pictures, flags.rounds, flags.batch_size)
    title = f"{flags.backbone}, {flags.engine}, {flags.precision}: detection on {torch.get_num_threads()} threads"
    table = make_table(title, (f"{found.pictures} images", "first pass", "median", "images per second"))
    for name, passes in ((f"{found.shapes} shapes", found.many_s), ("one shape", found.equal_s)):
        middle = statistics.median(passes)
        table.add_row(name, f"{passes[0]:.2f} s", f"{middle:.2f} s", f"{found.pictures / middle:.1f}")
    verdict = (
        f"many sizes take {found.first:.2f} times as long in the first pass, {found.ratio:.2f} by the medians "
        f"(target: at most {BOUND:g}): {'met' if found.met else 'not met'}"
    )
    content = {**vars(found), "first": found.first, "ratio": found.ratio, "met": found.met, **setting(flags)}
    return report(flags.json, content, table, verdict, met=found.met)


if __name__ == "__main__":
    raise SystemExit(main())
