"""The whole way from a folder to answers, drawn and written: `python -m zoo.benchmarks.prediction_pipeline`.

The photos of a folder, repeated until there are `--pictures` of them, or a film made of them (`--video`), go through what `zoo predict
FOLDER --out FOLDER` does, once as it is and once with nothing done ahead, in turns. The network's share is the time inside the model's
call over that of the whole way: the rest is what the network waits for. Memory is what the process holds after a tenth, half and all of
the pictures; what is promised of it is for 10,000 of them: of a few hundred the first tenth is over before everything is allocated.
"""

from __future__ import annotations

import argparse
import json
import os
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
from rich.console import Console
from rich.table import Table

from zoo.benchmarks.engine_flags import add_flags, computed
from zoo.benchmarks.photos import photo_files
from zoo.data.loader import pick_batch_size
from zoo.errors import InputError, ZooError, check_positive
from zoo.images import decoding as images
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.output import write_predictions
from zoo.prediction.predict import predict

SHARE = 0.8  # of the wall-clock that is the network's
GROWTH = 0.05  # of the memory, from a tenth of the pictures on
_AT = (0.1, 0.5, 1.0)
_FILM_HW, _SCENES = (480, 640), 64


@dataclass(frozen=True)
class Way:
    """One pass over the pictures.

    Attributes:
        seconds: of the whole way.
        network: of them inside the model's call.
        memory_mib: resident, after a tenth, half and all of the pictures.
    """

    seconds: float
    network: float
    memory_mib: tuple[float, ...]

    @property
    def share(self) -> float:
        """The network's part of the time."""
        return self.network / self.seconds

    @property
    def growth(self) -> float:
        """The largest change of the memory after a tenth of the pictures, as a part of what was held there."""
        first = self.memory_mib[0]
        return max(abs(later - first) for later in self.memory_mib[1:]) / first


@dataclass(frozen=True)
class Comparison:
    """All passes.

    Attributes:
        pictures: in each of them.
        ahead: those with pictures read ahead and written behind.
        plain: those with one thing after the other.
    """

    pictures: int
    ahead: tuple[Way, ...]
    plain: tuple[Way, ...]

    @property
    def growth(self) -> float:
        """That of the first pass, in which everything is allocated."""
        return self.ahead[0].growth

    @property
    def share(self) -> float:
        """The network's, the median of the passes."""
        return statistics.median(way.share for way in self.ahead)

    @property
    def met(self) -> bool:
        """Whether share and memory are what is promised."""
        return self.share >= SHARE and self.growth <= GROWTH


class _Clock:
    """Adds up the time inside a model's calls."""

    def __init__(self, model: Model) -> None:
        self.seconds, self._start = 0.0, 0.0
        self.hooks = [model.register_forward_pre_hook(self._begin), model.register_forward_hook(self._end)]

    def _begin(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._start


def travel(model: Model, source: Path, pictures: int, batch_size: int | None, ahead: bool) -> Way:
    """Take pictures all the way once.

    Args:
        model: on the CPU.
        source: a folder of pictures, or a video.
        pictures: how many there are in it.
        batch_size: as for `zoo.predict`.
        ahead: whether pictures are read ahead and written behind.
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
    """Go both ways in turns.

    Args:
        model: on the CPU.
        photos: a folder.
        pictures: how many to make of it.
        rounds: passes of each way.
        batch_size: as for `zoo.predict`.
        video: make a film of them.

    Raises:
        InputError: no folder, or a number below 1.
        DataError: no photos.
    """
    check_positive("prediction_pipeline", rounds=rounds)
    if pictures < 10:
        raise InputError(f"prediction_pipeline: pictures is {pictures}; expected 10 or more: memory is read after a tenth of them")
    with tempfile.TemporaryDirectory() as scratch:
        source = (_filmed if video else _repeated)(photo_files(photos), pictures, Path(scratch))
        for _ in predict(model, source, batch_size=batch_size, device="cpu"):  # kernels are chosen, and an engine compiles
            break
        ways = [[travel(model, source, pictures, batch_size, ahead) for ahead in (True, False)] for _ in range(rounds)]
    return Comparison(pictures, tuple(ahead for ahead, _ in ways), tuple(plain for _, plain in ways))


def _repeated(files: Sequence[Path], pictures: int, folder: Path) -> Path:
    for index, file in enumerate(islice(cycle(files), pictures)):
        (folder / f"{index:06d}{file.suffix}").symlink_to(file.resolve())
    return folder


def _filmed(files: Sequence[Path], pictures: int, folder: Path) -> Path:
    height, width = _FILM_HW
    film = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (width, height))
    frames = [cv2.cvtColor(cv2.resize(images.read(path), (width, height)), cv2.COLOR_RGB2BGR) for path in files[:_SCENES]]
    for frame in islice(cycle(frames), pictures):
        film.write(frame)
    film.release()
    return folder / "film.mp4"


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where share and memory are what is promised, 1 where they aren't, 2 where the input is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.prediction_pipeline", description=__doc__)
    parser.add_argument("--pictures", type=int, default=512, help="how many to make of the photos by repeating")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each way")
    parser.add_argument("--video", action="store_true", help="make a film of them, 480×640, instead of a folder")
    add_flags(parser)
    flags = parser.parse_args(argv)
    try:
        torch.manual_seed(0)
        model = computed(build(flags.backbone, classes=[f"class {index}" for index in range(1000)]), flags)
        comparison = compare(model, flags.photos, flags.pictures, flags.rounds, flags.batch_size, flags.video)
    except ZooError as error:
        print(f"prediction_pipeline: {error}", file=sys.stderr)
        return error.exit_status
    if flags.json:
        about = {"share": comparison.share, "growth": comparison.growth, "met": comparison.met}
        setting = {"backbone": flags.backbone, "engine": flags.engine, "precision": flags.precision, "threads": torch.get_num_threads()}
        print(json.dumps({**asdict(comparison), **about, **setting, "load": os.getloadavg()[0]}))
    else:
        _print(comparison, f"{flags.backbone}, {flags.engine}, {flags.precision}")
    return 0 if comparison.met else 1


def _print(comparison: Comparison, what: str) -> None:
    table = Table(
        "", "whole way", "per second", "in the network", "its share",
        title=f"{what}: {comparison.pictures} pictures on {torch.get_num_threads()} threads, medians of {len(comparison.ahead)}",
        title_justify="left",
    )  # fmt: skip
    for name, ways in (("ahead", comparison.ahead), ("in turn", comparison.plain)):
        seconds, network, share = (statistics.median(getattr(way, figure) for way in ways) for figure in ("seconds", "network", "share"))
        table.add_row(name, f"{seconds:.2f} s", f"{comparison.pictures / seconds:.1f}", f"{network:.2f} s", f"{share:.1%}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    memory = ", ".join(f"{value:.0f}" for value in comparison.ahead[0].memory_mib)
    console.print(f"memory of the first pass ahead, at {', '.join(f'{part:.0%}' for part in _AT)}: {memory} MiB")
    console.print(
        f"the network's share is {comparison.share:.1%} (promised: {SHARE:.0%}), that memory stays within "
        f"{comparison.growth:.1%} (promised: {GROWTH:.0%}): {'met' if comparison.met else 'not met'}; load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
