"""Check that a gallery store survives `kill -9` and concurrent writers."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np

from zoo.benchmarks.gallery_stores import KEEPERS

_BATCH = 10  # rows per transaction
_FIRST = 3  # transactions that a child reports before it is killed
_APART = 1_000_000  # distance between the first row numbers of two writers


@dataclass(frozen=True)
class Safety:
    """Damage found after processes were killed or wrote at the same time."""

    name: str
    lost: int  # number of transactions reported as committed that are missing
    halves: int  # number of times that a transaction was present in part
    unreadable: int  # number of times that the store couldn't be opened or written to afterwards
    writers_lost: int  # number of rows missing after concurrent writes, rows of failed writers included

    @property
    def safe(self) -> bool:
        """Whether nothing was lost, partial or unreadable."""
        return not (self.lost or self.halves or self.unreadable or self.writers_lost)


def write(name: str, place: str, size: int, first: int, batches: int, reports: Connection) -> None:
    """Add ten rows per transaction and send the index of each transaction once it is committed."""
    keeper = KEEPERS[name](place, size)
    for batch in range(batches):
        keeper.add(first + batch * _BATCH, np.ones((_BATCH, size), np.float32))
        reports.send(batch)


def torment(name: str, place: str, size: int, kills: int, writers: int, seed: int) -> Safety:
    """Kill processes while they write, at moments drawn from `seed`, then run concurrent writers.

    `place` is an empty folder, or the address of an empty database.
    """
    rng = np.random.default_rng(seed)
    lost = halves = unreadable = kept = 0
    for turn in range(kills):
        done = _child(name, place, size, turn, float(rng.uniform(0, 0.05)))
        try:
            count = KEEPERS[name](place, size).count()
        except Exception:  # any exception of the store's library counts
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
    """Kill a writing process some time after its third transaction, and return the transactions that it reported."""
    child, reports = _start(name, place, size, turn * _APART, _APART // _BATCH)
    done: list[int] = []
    with contextlib.suppress(EOFError):  # a child that can't write reports fewer
        done.extend(reports.recv() for _ in range(_FIRST))
    time.sleep(seconds)
    child.kill()
    child.join()
    return done + drain(reports)


def _write_all(name: str, place: str, size: int, writers: int) -> None:
    """Run concurrent writers with ten transactions each."""
    started = [_start(name, place, size, (1000 + number) * _APART, _BATCH) for number in range(writers)]
    for process, reports in started:
        drain(reports)
        process.join()


def _start(name: str, place: str, size: int, first: int, batches: int) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    reports, sender = context.Pipe(duplex=False)
    process = context.Process(target=write, args=(name, place, size, first, batches, sender))
    process.start()
    sender.close()
    return process, reports


def drain(reports: Connection) -> list[int]:
    """Return the remaining reports of a process, up to its end."""
    found = []
    with contextlib.suppress(EOFError, OSError):  # the last report may be incomplete
        while True:
            found.append(reports.recv())
    return found
