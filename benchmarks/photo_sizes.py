"""A folder of photos of many sizes beside one of equal sizes: `python -m zoo.benchmarks.photo_sizes`.

The photos of a folder are scaled, once to upright and lying ones with sides of 1:2 to 2:1, no two alike, and once to one size, so that
the model sees as many pixels of both. A detector answers for both folders, decoding and writing included: twenty pictures of one, twenty
of the other, in turns, since the same network may take twice as long half a minute later where a machine is shared. What the sizes cost
shows in the first pass over all of them, in which every one is new to the engine, and in the others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from zoo.benchmarks.engine_flags import add_flags, computed
from zoo.benchmarks.photos import photo_files
from zoo.benchmarks.prediction_pipeline import travel
from zoo.errors import ZooError, check_positive
from zoo.images import decoding as images
from zoo.images.preprocess import Preprocess
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.predict import predict

BOUND = 1.3  # times as long as pictures of equal size
_TURN = 20  # pictures of one folder, before it is the other's turn
_AREA = 480 * 640  # pixels of a photo
_RATIO = 2.0  # of its sides, at most

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """All passes.

    Attributes:
        pictures: in each of them.
        shapes: different ones among those of many sizes, as the model sees them.
        many_s: seconds of each pass over these.
        equal_s: likewise over those of equal size.
    """

    pictures: int
    shapes: int
    many_s: tuple[float, ...]
    equal_s: tuple[float, ...]

    @property
    def first(self) -> float:
        """How many times as long the first pass took."""
        return self.many_s[0] / self.equal_s[0]

    @property
    def ratio(self) -> float:
        """How many times as long a pass took, by the medians of all."""
        return statistics.median(self.many_s) / statistics.median(self.equal_s)

    @property
    def met(self) -> bool:
        """Whether both are what is promised."""
        return max(self.first, self.ratio) <= BOUND


def sizes(count: int) -> list[SizeHW]:
    """Return heights and widths of so many photos, of about one area and with sides as different as photos' are, always the same ones."""
    ratios = _RATIO ** np.random.default_rng(0).permutation(np.linspace(-1, 1, count))
    return [(round(math.sqrt(_AREA * ratio)), round(math.sqrt(_AREA / ratio))) for ratio in ratios]


def equal_size(several: Sequence[SizeHW], preprocess: Preprocess) -> SizeHW:
    """Return the size of lying photos of which a model sees as many pixels as of these on average."""
    seen = [preprocess.resized_hw(*size) for size in several]
    short = min(preprocess.size_hw)
    height = min(size[0] for size in several)
    return height, round(height * statistics.mean(high * wide for high, wide in seen) / short**2)


def compare(model: Model, photos: Path, pictures: int, rounds: int, batch_size: int | None = None) -> Comparison:
    """Answer for both folders in turns.

    Args:
        model: a detector, on the CPU.
        photos: a folder.
        pictures: how many to make of it, in each folder.
        rounds: passes over each.
        batch_size: as for `zoo.predict`.

    Raises:
        InputError: no folder, or a number below 1.
        DataError: no photos.
    """
    check_positive("photo_sizes", pictures=pictures, rounds=rounds)
    files, many = photo_files(photos), sizes(pictures)
    equal = [equal_size(many, model.preprocess)] * pictures
    with tempfile.TemporaryDirectory() as scratch:
        folders = [_scaled(files, wanted, Path(scratch) / name) for name, wanted in (("many", many), ("equal", equal))]
        for _ in predict(model, folders[1][0], batch_size=batch_size, device="cpu"):  # kernels are chosen, and an engine compiles
            break
        passes = [_pass(model, folders, batch_size) for _ in range(rounds)]
    shapes = {model.preprocess.resized_hw(*size) for size in many}
    return Comparison(pictures, len(shapes), tuple(one for one, _ in passes), tuple(other for _, other in passes))


def _pass(model: Model, folders: Sequence[Sequence[Path]], batch_size: int | None) -> list[float]:
    """Answer for all pictures of both folders, and return the seconds of each."""
    seconds = [0.0, 0.0]
    for turn, parts in enumerate(zip(*folders, strict=True)):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds[side] += travel(model, parts[side], len(list(parts[side].iterdir())), batch_size, True).seconds
    return seconds


def _scaled(files: Sequence[Path], wanted: Sequence[SizeHW], folder: Path) -> list[Path]:
    """Write photos at these sizes, into a folder for each turn."""
    for index, (photo, (height, width)) in enumerate(zip(_read(files), wanted, strict=False)):
        part = folder / f"{index // _TURN:03d}"
        part.mkdir(parents=True, exist_ok=True)
        scaled = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(part / f"{index:06d}.jpg"), cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR))
    return sorted(folder.iterdir())


def _read(files: Sequence[Path]) -> Iterator[images.Image]:
    """Yield the first photos again and again: reading every one anew would take longer than what is measured."""
    yield from cycle([images.read(path) for path in islice(files, 16)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where the ratio is what is promised, 1 where it isn't, 2 where the input is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.photo_sizes", description=__doc__)
    parser.add_argument("--pictures", type=int, default=200, help="in each folder")
    parser.add_argument("--rounds", type=int, default=3, help="passes over each folder")
    add_flags(parser)
    flags = parser.parse_args(argv)
    try:
        torch.manual_seed(0)
        model = build(flags.backbone, "detection", classes=[f"class {index}" for index in range(80)])
        comparison = compare(computed(model, flags), flags.photos, flags.pictures, flags.rounds, flags.batch_size)
    except ZooError as error:
        print(f"photo_sizes: {error}", file=sys.stderr)
        return error.exit_status
    setting = {"backbone": flags.backbone, "engine": flags.engine, "precision": flags.precision, "threads": torch.get_num_threads()}
    if flags.json:
        found = {**vars(comparison), "first": comparison.first, "ratio": comparison.ratio, "met": comparison.met}
        print(json.dumps({**found, **setting, "load": os.getloadavg()[0]}))
    else:
        _print(comparison, ", ".join(str(setting[name]) for name in ("backbone", "engine", "precision")))
    return 0 if comparison.met else 1


def _print(comparison: Comparison, what: str) -> None:
    table = Table(
        f"{comparison.pictures} pictures", "first pass", "median", "pictures per second",
        title=f"{what}: detection on {torch.get_num_threads()} threads", title_justify="left",
    )  # fmt: skip
    for name, passes in ((f"{comparison.shapes} shapes", comparison.many_s), ("one shape", comparison.equal_s)):
        middle = statistics.median(passes)
        table.add_row(name, f"{passes[0]:.2f} s", f"{middle:.2f} s", f"{comparison.pictures / middle:.1f}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"many sizes take {comparison.first:.2f} times as long at first, {comparison.ratio:.2f} by the medians "
        f"(promised: at most {BOUND:g}): {'met' if comparison.met else 'not met'}; load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
