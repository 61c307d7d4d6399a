"""What `kill -9` and several writers at once leave of what keeps a gallery."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from zoo.benchmarks.gallery_stores import KEEPERS

_BATCH = 10  # rows of a transaction
_FIRST = 3  # transactions that a child says before it is killed
_APART = 1_000_000  # numbers between two writers' first rows


@dataclass(frozen=True)
class Safety:
    """What is left after processes were killed, or wrote at once.

    Attributes:
        name: what keeps.
        lost: transactions that were said to be done and weren't there.
        halves: times that a transaction was there in part.
        unreadable: times that it could not be opened or added to afterwards.
        writers_lost: rows that were missing after several wrote at once; rows of writers that failed among them.
    """

    name: str
    lost: int
    halves: int
    unreadable: int
    writers_lost: int

    @property
    def safe(self) -> bool:
        """Whether nothing was lost, half or unreadable."""
        return not (self.lost or self.halves or self.unreadable or self.writers_lost)


def write(name: str, place: str, size: int, first: int, batches: int, said: Connection) -> None:
    """Add ten rows at a time, and say so after each transaction."""
    keeper = KEEPERS[name](place, size)
    for batch in range(batches):
        keeper.add(first + batch * _BATCH, np.ones((_BATCH, size), np.float32))
        said.send(batch)


def torment(name: str, place: str, size: int, kills: int, writers: int, seed: int) -> Safety:
    """Kill processes that write, then let several write at once.

    Args:
        name: what keeps.
        place: where; empty.
        size: numbers per vector.
        kills: processes that are killed.
        writers: processes that write at once.
        seed: of the moments.
    """
    rng = np.random.default_rng(seed)
    lost = halves = unreadable = kept = 0
    for turn in range(kills):
        done = _child(name, place, size, turn, float(rng.uniform(0, 0.05)))
        try:
            count = KEEPERS[name](place, size).count()
        except Exception:  # whatever a library raises: it is what is counted
            unreadable += 1
            continue
        unreadable += len(done) < _FIRST
        halves += count % _BATCH != 0
        lost += max(0, len(done) - (count - kept) // _BATCH)
        kept = count
    if not writers:
        return Safety(name, lost, halves, unreadable, 0)
    _write_all(name, place, size, writers)
    expected = kept + writers * _BATCH * _BATCH
    return Safety(name, lost, halves, unreadable, expected - KEEPERS[name](place, size).count())


def _child(name: str, place: str, size: int, turn: int, seconds: float) -> list[int]:
    """Kill a process that writes, some time after its third transaction, and return which ones it has said to be done."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=write, args=(name, place, size, turn * _APART, _APART // _BATCH, there))
    child.start()
    there.close()
    done: list[int] = []
    with contextlib.suppress(EOFError):  # a child that can't add says less
        done.extend(here.recv() for _ in range(_FIRST))
    time.sleep(seconds)
    child.kill()
    child.join()
    return done + drain(here)


def _write_all(name: str, place: str, size: int, writers: int) -> None:
    """Let several processes write at once, ten transactions each."""
    context = multiprocessing.get_context("spawn")
    started = []
    for number in range(writers):
        here, there = context.Pipe(duplex=False)
        first = (1000 + number) * _APART
        process = context.Process(target=write, args=(name, place, size, first, _BATCH, there))
        process.start()
        there.close()
        started.append((process, here))
    for process, here in started:
        drain(here)
        process.join()


def drain(said: Connection) -> list[int]:
    """Return what a process that has ended had still said."""
    found = []
    with contextlib.suppress(EOFError, OSError):  # the last word may have been cut off
        while True:
            found.append(said.recv())
    return found
