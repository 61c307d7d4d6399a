"""Training that is killed at random moments and goes on: `python -m zoo.benchmarks.interruptions`.

A small run of `zoo train` on drawn pictures, with all that has a memory: dropout, mixup, RandAugment, a moving average, accumulated
gradients, validation. It is run once whole. Then again and again with `kill -9` of all its processes at a random moment of it (every
second time while it writes), up to three times before it may go on to its end with --resume. Its weights and its metrics.jsonl must be
those of the whole run, bit for bit.

The commands start from a process that has imported the zoo already: otherwise most of the time is that of imports.
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

TIMES = 20
_MODULES = ["zoo.cli.main", "zoo.cli.flags", "zoo.training.train", "zoo.tasks.classification", "zoo.backbones.timm", "sklearn.datasets"]
_KILLS = 3  # of one run, at most


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        writing: what was being written, by the names of the half-written files that it left; empty where nothing was.
        after: seconds from the start of the process.
    """

    writing: tuple[str, ...]
    after: float


class Runs:
    """Runs of one command in folders of their own."""

    def __init__(self, root: Path, epochs: int) -> None:
        """Prepare.

        Args:
            root: where the runs are written.
            epochs: how long they are.
        """
        self.root, self._epochs = root, epochs
        # processes that are killed can't give back their loaders' semaphores; Python does, and would say so
        os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_MODULES)

    def words(self, name: str, workers: int) -> list[str]:
        """Return the command line of a run."""
        settings = (
            f"--backbone test_resnet --image-size 32 --dropout 0.3 --epochs {self._epochs} --batch-size 8 --grad-accumulation 2 --ema 0.9 "
            f"--clip-grad 1 --mixup 0.4 --randaugment 5 --precision fp32 --workers {workers} --checkpoint-minutes 0 --quiet"
        )
        data = ["--data", "demo:digits?split=train&limit=60", "--val", "demo:digits?split=test&limit=30"]
        return ["train", *data, "--out", str(self.root / name), *settings.split()]

    def start(self, name: str, workers: int, resume: bool) -> BaseProcess:
        """Start, or continue, a run."""
        process = self._context.Process(target=_run, args=(self.words(name, workers) + ["--resume"] * resume, self.root / f"{name}.log"))
        process.start()
        return process

    def finish(self, name: str, workers: int, resume: bool) -> None:
        """Let a run come to its end.

        Raises:
            RuntimeError: it doesn't.
        """
        process = self.start(name, workers, resume)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the run {name} ended with {process.exitcode}: {(self.root / f'{name}.log').read_text()}")

    def kill(self, name: str, workers: int, resume: bool, after: float, writing: bool) -> Kill | None:
        """Start, or continue, a run and kill it.

        Args:
            name: of the run.
            workers: loader processes.
            resume: continue it.
            after: seconds from the start.
            writing: wait on from then until it writes something.

        Returns:
            What became of it; None where it came to its end before.
        """
        start = time.monotonic()
        process = self.start(name, workers, resume)
        process.join(after)
        while writing and process.is_alive() and not _drafts(self.root / name):
            time.sleep(0.001)  # a checkpoint takes some milliseconds; the cores are for the run
        ended = not process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # the loader processes too
        process.join()
        if ended or process.exitcode == 0:
            return None
        return Kill(tuple(sorted(_drafts(self.root / name))), time.monotonic() - start)

    def content(self, name: str) -> tuple[bytes, bytes]:
        """Return the final weights and the metrics of a run, byte by byte."""
        return (self.root / name / "model" / "weights.safetensors").read_bytes(), (self.root / name / "metrics.jsonl").read_bytes()


def _run(words: Sequence[str], log: Path) -> None:
    """Be a process of its own, as a shell starts it."""
    os.setsid()
    from zoo.cli.main import main

    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(words))


def _drafts(folder: Path) -> set[str]:
    """Return the names of what is being written in a run's folder."""
    return {path.name.split("-")[0].strip(".") for path in (*folder.glob(".*.part*"), *folder.glob("checkpoints/.*.part*"))}


def main(argv: Sequence[str] | None = None) -> int:
    """Kill runs, print what became of each, and return 1 where one of them ends otherwise than the whole one."""
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.interruptions", description=main.__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help="how many runs are killed")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; by default another one every time")
    flags = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(10**6) if flags.seed is None else flags.seed
    draw, right = random.Random(seed), 0
    root = Path(tempfile.mkdtemp(prefix="zoo-interruptions-"))
    try:
        runs = Runs(root, flags.epochs)
        runs.finish("warm", 0, resume=False)
        start = time.monotonic()
        runs.finish("whole", 0, resume=False)
        seconds, whole = time.monotonic() - start, runs.content("whole")
        print(f"the whole run takes {seconds:.1f} s; the moments' seed is {seed}", flush=True)
        for number in range(flags.times):
            name, workers = f"run{number + 1}", 2 * (number % 4 >= 2)
            kills: list[Kill] = []
            while not kills:  # again, where it had ended before the first moment
                shutil.rmtree(root / name, ignore_errors=True)
                for _ in range(draw.randint(1, _KILLS)):
                    kill = runs.kill(name, workers, bool(kills), draw.uniform(0, seconds), writing=number % 2 == 1)
                    if kill is None:
                        break
                    kills.append(kill)
            runs.finish(name, workers, resume=True)
            equal = runs.content(name) == whole
            right += equal
            moments = ", ".join(
                f"after {kill.after:.2f} s{' writing ' + ' and '.join(kill.writing) if kill.writing else ''}" for kill in kills
            )
            result = "equal" if equal else "OTHER"
            print(f"{name}: {workers} loader processes; killed {moments}; then {result}", flush=True)
            shutil.rmtree(root / name)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{right} of {flags.times} end bit for bit like the run that was never killed")
    return 0 if right == flags.times else 1


if __name__ == "__main__":
    raise SystemExit(main())
