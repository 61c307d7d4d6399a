"""Measure the fraction of time that `zoo predict` spends in the model: `python -m zoo.benchmarks.prediction_pipeline`.

The input is a folder of photos, repeated up to `--pictures` images, or a video of these photos (`--video`). It is processed as by `zoo
predict FOLDER --out FOLDER`, alternately with and without prefetching and background writing. The resident memory of the process is
measured after a tenth, half and all of the images. The memory target applies to 10,000 images. With only a few hundred, not everything is
allocated after the first tenth.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import psutil
import torch

from zoo import Model, build, predict
from zoo.benchmarks.harness.command import Flags, benchmark, flag, make_table, report
from zoo.benchmarks.harness.inputs import ENGINE_FLAGS, computed, link_files, photo_files, setting
from zoo.data.loader import pick_batch_size
from zoo.errors import InputError, check_positive
from zoo.images import decoding
from zoo.prediction.output import write_predictions

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


@contextlib.contextmanager
def _clocked(model: Model) -> Iterator[list[float]]:
    """Return a context manager that collects the durations of the model's calls in seconds."""
    starts: list[float] = []
    seconds: list[float] = []
    hooks = (
        model.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter())),
        model.register_forward_hook(lambda *_: seconds.append(time.perf_counter() - starts[-1])),
    )
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def travel(model: Model, source: Path, pictures: int, batch_size: int | None, ahead: bool) -> Way:
    """Run one pass over images or a video on the CPU, either with prefetching and background writing (`ahead`) or sequentially."""
    marks = {max(1, round(pictures * part)) for part in _AT}
    memory, done = [], 0

    def show(answer: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        if done in marks:
            memory.append(psutil.Process().memory_info().rss / 2**20)

    with _clocked(model) as calls, tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        predictions = predict(model, source, batch_size=batch_size, device="cpu", look_ahead=None if ahead else 0)
        waiting = pick_batch_size(batch_size, model.preprocess, model.device) if ahead else 0
        write_predictions(predictions, Path(scratch) / "out", show, waiting=waiting)
        seconds = time.perf_counter() - start
    return Way(seconds, sum(calls), tuple(memory))


def compare(model: Model, photos: Path, pictures: int, rounds: int, batch_size: int | None = None, video: bool = False) -> Comparison:
    """Run `rounds` passes with and without prefetching, alternately, over images or a video generated from photos."""
    check_positive("prediction_pipeline", rounds=rounds)
    if pictures < 10:
        reason = "because memory is measured after a tenth of them"
        raise InputError(f"prediction_pipeline: pictures is {pictures}; expected 10 or more, {reason}")
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


@benchmark(
    flag("--pictures", type=int, default=512, help="number of images per pass; photos are repeated"),
    flag("--rounds", type=int, default=3, help="number of passes with prefetching, and of passes without it"),
    flag("--video", action="store_true", help="use a video of the photos instead of a folder, 480 pixels high and 640 wide"),
    *ENGINE_FLAGS,
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all targets are met, 1 if not, 2 if the input is invalid."""
    torch.manual_seed(0)
    model = computed(build(flags.backbone, classes=[f"class {index}" for index in range(1000)]), flags)
    found = compare(model, flags.photos, flags.pictures, flags.rounds, flags.batch_size, flags.video)
    size = f"{found.pictures} images on {torch.get_num_threads()} threads, medians of {len(found.ahead)}"
    table = make_table(
        f"{flags.backbone}, {flags.engine}, {flags.precision}: {size}", ("", "total", "images per second", "in the model", "fraction")
    )
    for name, ways in (("prefetching", found.ahead), ("sequential", found.plain)):
        seconds, network, share = (statistics.median(getattr(way, figure) for way in ways) for figure in ("seconds", "network", "share"))
        table.add_row(name, f"{seconds:.2f} s", f"{found.pictures / seconds:.1f}", f"{network:.2f} s", f"{share:.1%}")
    memory = ", ".join(f"{value:.0f}" for value in found.ahead[0].memory_mib)
    shown = (
        f"memory of the first pass with prefetching, after {', '.join(f'{part:.0%}' for part in _AT)} of the images: {memory} MiB",
        f"fraction of time spent in the model: {found.share:.1%} (target: at least {SHARE:.0%}); memory changes by at most "
        f"{found.growth:.1%} (target: at most {GROWTH:.0%}): {'met' if found.met else 'not met'}",
    )
    content = {**asdict(found), "share": found.share, "growth": found.growth, "met": found.met, **setting(flags)}
    return report(flags.json, content, table, *shown, met=found.met)


if __name__ == "__main__":
    raise SystemExit(main())
