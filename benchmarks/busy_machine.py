"""Measure how much slower the zoo is beside other programs that compute: `python -m zoo.benchmarks.busy_machine`.

Every kind of work runs on a quiet machine, beside one process and beside two processes that compute all the time. It runs twice each time:
as it is, and with a constant number of threads, which is what PyTorch does by default. The states alternate, because the speed of a shared
machine changes; the medians are compared.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from zoo import Model, build, compile, train
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, flag, make_table, report, timed
from zoo.images.preprocess import Picture
from zoo.system.threads import THREADS
from zoo.task.contract import recipe

BOUND = 3.0  # target: maximum ratio of the times beside one busy process and on a quiet machine
_BUSY = (0, 1, 2)  # numbers of busy processes
_LEAST_S = 0.5  # a measurement repeats short work until this time has passed

Work = Callable[[], object]


@dataclass
class Row:
    """Times of one kind of work, in seconds, by number of busy processes."""

    name: str
    adaptive_s: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in _BUSY})
    constant_s: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in _BUSY})

    def median(self, count: int, constant: bool = False) -> float:
        """Return the median time beside `count` busy processes."""
        return statistics.median((self.constant_s if constant else self.adaptive_s)[count])

    @property
    def ratio(self) -> float:
        """Time beside one busy process divided by the time on a quiet machine."""
        return self.median(1) / self.median(0)

    @property
    def quiet_ratio(self) -> float:
        """Median of the ratios of neighbouring times on a quiet machine: as it is, divided by a constant number of threads."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.adaptive_s[0], self.constant_s[0], strict=True))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Return a context in which `count` other processes compute all the time."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(10_000))"]) for _ in range(count)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds_of(work: Work, threads: int | None, once: bool) -> float:
    """Return the time of a call, with a constant number of threads unless it is None: of the first one, or the mean of later ones."""
    with contextlib.nullcontext() if threads is None else THREADS.held(threads):
        if once:
            return timed(work)[1]
        start, calls = time.perf_counter(), 0
        work()
        begun = time.perf_counter()
        while time.perf_counter() - start < _LEAST_S or calls < 2:
            work()
            calls += 1
        return (time.perf_counter() - begun) / calls


def _answers(model: Model, height: int, width: int) -> Work:
    images: list[Picture] = [np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]

    def work() -> None:
        with torch.inference_mode():
            model(images)

    return work


def _training(scratch: Path, pictures: int) -> Work:
    """Train on JPEG files of two classes that one loader process decodes."""
    generator = np.random.default_rng(0)
    for number in range(pictures):
        path = scratch / "data" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8), (640, 480)))

    def work() -> None:
        chosen = recipe("classification", epochs=1, batch_size=30, workers=1, early_stop=0)
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            train(build("resnet18", classes=["a", "b"]), f"folder:{scratch / 'data'}", recipe=chosen, out=Path(out) / "run", device="cpu")

    return work


def works(scratch: Path, pictures: int) -> dict[str, Callable[[], Work]]:
    """Return functions that prepare each kind of work, by name."""
    classes = [f"class {index}" for index in range(20)]

    def classifier() -> Model:
        return build("resnet18", classes=classes).eval()

    return {
        "classification": lambda: _answers(classifier(), 224, 224),
        "detection": lambda: _answers(build("resnet18", "detection", classes=classes, image_size=320, max_image_size=427).eval(), 480, 640),
        "training": lambda: _training(scratch, pictures),
        "openvino": lambda: _answers(compile(classifier(), "openvino", "fp32"), 224, 224),
    }


def measure(names: Sequence[str], rounds: int, pictures: int) -> list[Row]:
    """Measure each kind of work, in all states in turn."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as scratch:
        prepared = {name: prepare() for name, prepare in works(Path(scratch), pictures).items() if name in names}
        rows = {name: Row(name) for name in prepared}
        for turn in range(rounds):
            step = 1 if turn % 2 == 0 else -1
            for count in _BUSY[::step]:
                with busy(count):
                    for name, work in prepared.items():
                        for constant in (False, True)[::step]:
                            times = rows[name].constant_s if constant else rows[name].adaptive_s
                            times[count].append(seconds_of(work, threads if constant else None, once=name == "training"))
    return list(rows.values())


@benchmark(
    flag("--only", choices=("classification", "detection", "training", "openvino"), nargs="+", help="kinds of work; by default all"),
    count_flag("--rounds", 5, 1, 100, "number of measurements in each state"),
    count_flag("--pictures", 120, 30, 100_000, "number of images in training"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all ratios are within the target, 1 if not."""
    threads = torch.get_num_threads()
    rows = measure(flags.only or ("classification", "detection", "training", "openvino"), flags.rounds, flags.pictures)
    title = f"milliseconds, and with {threads} threads all the time (in brackets)"
    table = make_table(title, ("work", "quiet", "beside one", "beside two", "ratio", "quiet, to constant"))
    for row in rows:
        cells = [f"{1000 * row.median(count):.4g} ({1000 * row.median(count, constant=True):.4g})" for count in _BUSY]
        table.add_row(row.name, *cells, f"{row.ratio:.2f}", f"{row.quiet_ratio:.3f}")
    met = all(row.ratio <= BOUND for row in rows)
    verdict = f"beside one busy process, every kind of work takes at most {BOUND:g} times as long: {'met' if met else 'not met'}"
    return report(
        flags.json,
        {"rows": [{**asdict(row), "ratio": row.ratio, "quiet_ratio": row.quiet_ratio} for row in rows], "met": met},
        table,
        verdict,
        met=met,
    )


if __name__ == "__main__":
    raise SystemExit(main())
