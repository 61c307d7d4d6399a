"""Measure the fraction of time that `zoo predict` spends in the model: `python -m zoo.benchmarks.prediction_pipeline`.

The input is a folder of photos, repeated up to `--pictures` images, or a video of these photos (`--video`). It is processed as by `zoo
predict FOLDER --out FOLDER`, alternately with and without prefetching and background writing. The resident memory of the process is
measured after a tenth, half and all of the images. The memory target applies to 10,000 images. With only a few hundred, not everything is
allocated after the first tenth.
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

SHARE = 0.8  # target: minimum fraction of wall-clock time spent in the model
GROWTH = 0.05  # target: maximum relative change of memory after a tenth of the images
_AT = (0.1, 0.5, 1.0)  # fractions of the images after which memory is measured
_FILM_HW, _SCENES = (480, 640), 64


@dataclass(frozen=True)
class Way:
    """Time and memory of one pass over the images."""

    seconds: float  # total time in seconds
    network: float  # time spent in the model in seconds
    memory_mib: tuple[float, ...]  # resident memory in MiB after a tenth, half and all of the images

    @property
    def share(self) -> float:
        """Fraction of the total time spent in the model."""
        return self.network / self.seconds

    @property
    def growth(self) -> float:
        """Largest relative change of memory between a tenth of the images and the later measurements."""
        first = self.memory_mib[0]
        return max(abs(later - first) for later in self.memory_mib[1:]) / first


@dataclass(frozen=True)
class Comparison:
    """Results of the passes with and without prefetching."""

    pictures: int  # number of images per pass
    ahead: tuple[Way, ...]  # passes with prefetching and background writing
    plain: tuple[Way, ...]  # passes that run all steps sequentially

    @property
    def growth(self) -> float:
        """Memory growth in the first pass, which allocates all buffers."""
        return self.ahead[0].growth

    @property
    def share(self) -> float:
        """Median fraction of time spent in the model, over the passes with prefetching."""
        return statistics.median(way.share for way in self.ahead)

    @property
    def met(self) -> bool:
        """Whether the fraction of time in the model and the memory growth meet their targets."""
        return self.share >= SHARE and self.growth <= GROWTH


class _Clock:
    """Clock that accumulates the time spent in a model."""

    def __init__(self, model: Model) -> None:
        self.seconds, self._start = 0.0, 0.0
        self.hooks = [model.register_forward_pre_hook(self._begin), model.register_forward_hook(self._end)]

    def _begin(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._start


def travel(model: Model, source: Path, pictures: int, batch_size: int | None, ahead: bool) -> Way:
    """Run one pass over a folder of images or a video on the CPU.

    If `ahead` is True, images are prefetched and results are written in the background. Otherwise, all steps run sequentially.
    """
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
    """Run `rounds` passes with and without prefetching, alternately, over images or a video generated from photos."""
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
    """Run the benchmark and return the exit status: 0 if all targets are met, 1 if not, 2 if the input is invalid."""
    parser = make_parser("prediction_pipeline", __doc__)
    parser.add_argument("--pictures", type=int, default=512, help="number of images per pass; photos are repeated")
    parser.add_argument("--rounds", type=int, default=3, help="number of passes with and without prefetching, each")
    parser.add_argument("--video", action="store_true", help="use a video of the photos instead of a folder, 480 pixels high and 640 wide")
    add_flags(parser)
    flags = parser.parse_args(argv)
    torch.manual_seed(0)
    model = computed(build(flags.backbone, classes=[f"class {index}" for index in range(1000)]), flags)
    comparison = compare(model, flags.photos, flags.pictures, flags.rounds, flags.batch_size, flags.video)
    about = {"share": comparison.share, "growth": comparison.growth, "met": comparison.met}
    memory = ", ".join(f"{value:.0f}" for value in comparison.ahead[0].memory_mib)
    shown = (
        _table(comparison, f"{flags.backbone}, {flags.engine}, {flags.precision}"),
        f"memory of the first pass with prefetching, after {', '.join(f'{part:.0%}' for part in _AT)} of the images: {memory} MiB",
        f"fraction of time spent in the model: {comparison.share:.1%} (target: at least {SHARE:.0%}); memory changes by at most "
        f"{comparison.growth:.1%} (target: at most {GROWTH:.0%}): {'met' if comparison.met else 'not met'}",
    )
    return report(flags.json, {**asdict(comparison), **about, **setting(flags)}, *shown, met=comparison.met)


def _table(comparison: Comparison, what: str) -> Table:
    table = Table(
        "", "total", "images per second", "in the model", "fraction",
        title=f"{what}: {comparison.pictures} images on {torch.get_num_threads()} threads, medians of {len(comparison.ahead)}",
        title_justify="left",
    )  # fmt: skip
    for name, ways in (("prefetching", comparison.ahead), ("sequential", comparison.plain)):
        seconds, network, share = (statistics.median(getattr(way, figure) for way in ways) for figure in ("seconds", "network", "share"))
        table.add_row(name, f"{seconds:.2f} s", f"{comparison.pictures / seconds:.1f}", f"{network:.2f} s", f"{share:.1%}")
    return table


if __name__ == "__main__":
    sys.exit(main())
