"""Check that training survives `kill -9` at random moments: `python -m zoo.benchmarks.interruptions`.

A small run of `zoo train` on built-in images uses all features that have state: dropout, mixup, RandAugment, a moving average, accumulated
gradients and validation. It first runs without interruption. In every further run, all processes are killed at random moments, up to three
times, before the run is completed with --resume. In every second run, they are killed while a file is being written. The weights and
metrics.jsonl must be bit-identical to those of the uninterrupted run.

The commands are forked from a process that has already imported the zoo, because imports would take most of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_MODULES = ["zoo.cli.main", "zoo.cli.train", "zoo.training.train", "zoo.tasks.classification", "zoo.backbones.timm", "sklearn.datasets"]
_KILLS = 3  # maximum number of kills per run


@dataclass(frozen=True)
class Kill:
    """Kill of a run."""

    writing: tuple[str, ...]  # names of the files that were being written, of which partial files are left
    after: float  # seconds since the start of the process

    def __str__(self) -> str:
        written = f" writing {' and '.join(self.writing)}" if self.writing else ""
        return f"after {self.after:.2f} s{written}"


class Runs:
    """Training runs with the same settings, each in a separate folder."""

    def __init__(self, root: Path, epochs: int) -> None:
        self.root, self._epochs = root, epochs
        # killed processes leak the semaphores of their data loaders, which Python frees with a warning
        os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_MODULES)

    def start(self, name: str, workers: int, resume: bool) -> BaseProcess:
        """Start or resume a run in a new process."""
        settings = (
            "--data demo:digits?split=train&limit=60 --val demo:digits?split=test&limit=30 --backbone test_resnet --image-size 32 "
            f"--dropout 0.3 --epochs {self._epochs} --batch-size 8 --grad-accumulation 2 --ema 0.9 --clip-grad 1 --mixup 0.4 "
            f"--randaugment 5 --precision fp32 --workers {workers} --checkpoint-minutes 0 --quiet"
        )
        words = ["train", *settings.split(), "--out", str(self.root / name), *["--resume"] * resume]
        process = self._context.Process(target=_run, args=(words, self.root / f"{name}.log"))
        process.start()
        return process

    def finish(self, name: str, workers: int, resume: bool) -> None:
        """Start or resume a run and wait until it ends. A `RuntimeError` is raised if it fails."""
        process = self.start(name, workers, resume)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the run {name} ended with exit status {process.exitcode}: {(self.root / f'{name}.log').read_text()}")

    def kill(self, name: str, workers: int, resume: bool, after: float, writing: bool) -> Kill | None:
        """Start or resume a run; kill it after `after` seconds, or at the first write after that if `writing`; None if it ended first."""
        start = time.monotonic()
        process = self.start(name, workers, resume)
        process.join(after)
        while writing and process.is_alive() and not _drafts(self.root / name):
            time.sleep(0.001)  # writing a checkpoint takes several milliseconds, and more frequent polling would slow down the run
        ended = not process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # kills the data loader processes, too
        process.join()
        if ended or process.exitcode == 0:
            return None
        return Kill(tuple(sorted(_drafts(self.root / name))), time.monotonic() - start)

    def content(self, name: str) -> tuple[bytes, bytes]:
        """Return the contents of a completed run's weights file and metrics file."""
        return (self.root / name / "model" / "weights.safetensors").read_bytes(), (self.root / name / "metrics.jsonl").read_bytes()


def _run(words: Sequence[str], log: Path) -> None:
    """Run a command in a new session, as a shell would, with its output appended to a log file."""
    os.setsid()
    from zoo.cli.main import main

    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(words))


def _drafts(folder: Path) -> set[str]:
    """Return the names of the partially written files in a run's folder."""
    return {path.name.split("-")[0].strip(".") for path in (*folder.glob(".*.part*"), *folder.glob("checkpoints/.*.part*"))}


def main(argv: Sequence[str] | None = None) -> int:
    """Kill and resume training runs and print their results. The exit status is 1 if one differs from the uninterrupted run."""
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.interruptions", description=main.__doc__)
    parser.add_argument("--times", type=int, default=20, help="number of runs to kill")
    parser.add_argument("--epochs", type=int, default=6, help="number of epochs of each run")
    parser.add_argument("--seed", type=int, help="seed for the random moments at which runs are killed; random by default")
    flags = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(10**6) if flags.seed is None else flags.seed
    draw, right = random.Random(seed), 0
    with tempfile.TemporaryDirectory(prefix="zoo-interruptions-", ignore_cleanup_errors=True) as scratch:
        runs = Runs(Path(scratch), flags.epochs)
        runs.finish("warm", 0, resume=False)
        start = time.monotonic()
        runs.finish("whole", 0, resume=False)
        seconds, whole = time.monotonic() - start, runs.content("whole")
        print(f"the uninterrupted run takes {seconds:.1f} s; the seed is {seed}", flush=True)
        for number in range(flags.times):
            name, workers = f"run{number + 1}", 2 * (number % 4 >= 2)
            kills: list[Kill] = []
            while not kills:  # repeat if the run ended before the first kill
                shutil.rmtree(runs.root / name, ignore_errors=True)
                for _ in range(draw.randint(1, _KILLS)):
                    kill = runs.kill(name, workers, bool(kills), draw.uniform(0, seconds), writing=number % 2 == 1)
                    if kill is None:
                        break
                    kills.append(kill)
            runs.finish(name, workers, resume=True)
            equal = runs.content(name) == whole
            right += equal
            result = f"killed {', '.join(map(str, kills))}; then {'equal' if equal else 'DIFFERENT'}"
            print(f"{name}: {workers} loader processes; {result}", flush=True)
            shutil.rmtree(runs.root / name)
    print(f"{right} of {flags.times} runs are bit-identical to the uninterrupted run")
    return 0 if right == flags.times else 1


if __name__ == "__main__":
    raise SystemExit(main())
