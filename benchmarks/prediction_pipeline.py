"""Measure the network's share of the time of `zoo predict`: `python -m zoo.benchmarks.prediction_pipeline`.

The photos of a folder, repeated up to `--pictures` images, or a video made of them (`--video`), pass through the steps of `zoo predict
FOLDER --out FOLDER`, alternately with and without reading ahead and writing in the background. The network's share is the time inside the
model's calls divided by the total time. Memory is the resident memory of the process after a tenth, half and all of the images. Its target
applies to 10,000 images: with a few hundred, the first tenth ends before everything is allocated.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import psutil
import torch
from rich.table import Table

from zoo.benchmarks.harness.command import make_parser, prints_errors, report
from zoo.benchmarks.harness.engine_flags import add_flags, computed, setting
from zoo.benchmarks.harness.photos import link_files, photo_files
from zoo.data.loader import pick_batch_size
from zoo.errors import InputError, check_positive
from zoo.images import decoding
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.output import write_predictions
from zoo.prediction.predict import predict

SHARE = 0.8  # target for the network's share of wall-clock time
GROWTH = 0.05  # target for the memory growth after a tenth of the images
_AT = (0.1, 0.5, 1.0)
_FILM_HW, _SCENES = (480, 640), 64


@dataclass(frozen=True)
class Way:
    """Time and memory of one pass over the images."""

    seconds: float  # total time
    network: float  # seconds inside the model's calls
    memory_mib: tuple[float, ...]  # resident memory in MiB after a tenth, half and all of the images

    @property
    def share(self) -> float:
        """Fraction of the time inside the model's calls."""
        return self.network / self.seconds

    @property
    def growth(self) -> float:
        """Largest change of the memory after a tenth of the images, relative to the memory at that point."""
        first = self.memory_mib[0]
        return max(abs(later - first) for later in self.memory_mib[1:]) / first


@dataclass(frozen=True)
class Comparison:
    """Results of all passes."""

    pictures: int  # per pass
    ahead: tuple[Way, ...]  # passes that read ahead and write in the background
    plain: tuple[Way, ...]  # passes that run all steps sequentially

    @property
    def growth(self) -> float:
        """Memory growth of the first pass, which allocates everything."""
        return self.ahead[0].growth

    @property
    def share(self) -> float:
        """Median network share of the passes that read ahead."""
        return statistics.median(way.share for way in self.ahead)

    @property
    def met(self) -> bool:
        """Whether network share and memory growth meet their targets."""
        return self.share >= SHARE and self.growth <= GROWTH


class _Clock:
    """Accumulates the time inside a model's calls."""

    def __init__(self, model: Model) -> None:
        self.seconds, self._start = 0.0, 0.0
        self.hooks = [model.register_forward_pre_hook(self._begin), model.register_forward_hook(self._end)]

    def _begin(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._start


def travel(model: Model, source: Path, pictures: int, batch_size: int | None, ahead: bool) -> Way:
    """Run one pass over a folder of images or a video, `ahead` or with all steps in sequence, with a model on the CPU."""
    process = psutil.Process()
    marks = {max(1, round(pictures * part)) for part in _AT}
    memory, done = [], 0

    def show(answer: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        if done in marks:
            memory.append(process.memory_info().rss / 2**20)

    clock = _Clock(model)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()
            predictions = predict(model, source, batch_size=batch_size, device="cpu", look_ahead=None if ahead else 0)
            waiting = pick_batch_size(batch_size, model.preprocess, model.device) if ahead else 0
            write_predictions(predictions, Path(scratch) / "out", show, waiting=waiting)
            seconds = time.perf_counter() - start
    finally:
        for hook in clock.hooks:
            hook.remove()
    return Way(seconds, clock.seconds, tuple(memory))


def compare(model: Model, photos: Path, pictures: int, rounds: int, batch_size: int | None = None, video: bool = False) -> Comparison:
    """Run `rounds` passes with and without reading ahead, alternately, over images or a video generated from photos."""
    check_positive("prediction_pipeline", rounds=rounds)
    if pictures < 10:
        raise InputError(
            f"prediction_pipeline: pictures is {pictures}; expected 10 or more, because memory is measured after a tenth of them"
        )
    with tempfile.TemporaryDirectory() as scratch:
        files, folder = photo_files(photos), Path(scratch)
        source = _filmed(files, pictures, folder) if video else link_files(islice(cycle(files), pictures), folder / "photos")
        next(iter(predict(model, source, batch_size=batch_size, device="cpu")))  # selects kernels, compiles an engine
        ways = [[travel(model, source, pictures, batch_size, ahead) for ahead in (True, False)] for _ in range(rounds)]
    return Comparison(pictures, tuple(ahead for ahead, _ in ways), tuple(plain for _, plain in ways))


def _filmed(files: Sequence[Path], pictures: int, folder: Path) -> Path:
    height, width = _FILM_HW
    film = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (width, height))
    frames = [cv2.cvtColor(cv2.resize(decoding.read(path), (width, height)), cv2.COLOR_RGB2BGR) for path in files[:_SCENES]]
    for frame in islice(cycle(frames), pictures):
        film.write(frame)
    film.release()
    return folder / "film.mp4"


@prints_errors("prediction_pipeline")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark: 0 if network share and memory meet their targets, 1 if they don't, 2 if the input is invalid."""
    parser = make_parser("prediction_pipeline", __doc__)
    parser.add_argument("--pictures", type=int, default=512, help="number of images, repeated from the photos")
    parser.add_argument("--rounds", type=int, default=3, help="number of passes of each kind")
    parser.add_argument("--video", action="store_true", help="use a video of the photos, 480×640, instead of a folder")
    add_flags(parser)
    flags = parser.parse_args(argv)
    torch.manual_seed(0)
    model = computed(build(flags.backbone, classes=[f"class {index}" for index in range(1000)]), flags)
    comparison = compare(model, flags.photos, flags.pictures, flags.rounds, flags.batch_size, flags.video)
    about = {"share": comparison.share, "growth": comparison.growth, "met": comparison.met}
    memory = ", ".join(f"{value:.0f}" for value in comparison.ahead[0].memory_mib)
    shown = (
        _table(comparison, f"{flags.backbone}, {flags.engine}, {flags.precision}"),
        f"memory of the first pass that reads ahead, at {', '.join(f'{part:.0%}' for part in _AT)}: {memory} MiB",
        f"the network's share is {comparison.share:.1%} (target: {SHARE:.0%}), memory changes by at most "
        f"{comparison.growth:.1%} (target: {GROWTH:.0%}): {'met' if comparison.met else 'not met'}",
    )
    return report(flags.json, {**asdict(comparison), **about, **setting(flags)}, *shown, met=comparison.met)


def _table(comparison: Comparison, what: str) -> Table:
    table = Table(
        "", "total", "per second", "in the network", "share",
        title=f"{what}: {comparison.pictures} images on {torch.get_num_threads()} threads, medians of {len(comparison.ahead)}",
        title_justify="left",
    )  # fmt: skip
    for name, ways in (("ahead", comparison.ahead), ("sequential", comparison.plain)):
        seconds, network, share = (statistics.median(getattr(way, figure) for way in ways) for figure in ("seconds", "network", "share"))
        table.add_row(name, f"{seconds:.2f} s", f"{comparison.pictures / seconds:.1f}", f"{network:.2f} s", f"{share:.1%}")
    return table


if __name__ == "__main__":
    sys.exit(main())
