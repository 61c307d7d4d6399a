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
_FIRST = 3  # minimum number of transactions that a process reports before it is killed
_APART = 1_000_000  # difference between the first row numbers of two writing processes


@dataclass(frozen=True)
class Safety:
    """Damage to a store after processes were killed or wrote at the same time."""

    name: str  # name of the store
    lost: int  # number of missing transactions that were reported as committed
    halves: int  # number of times that a transaction was incomplete
    unreadable: int  # number of times that the store couldn't be opened or written to afterwards
    writers_lost: int  # number of rows missing after concurrent writes, rows of failed writers included

    @property
    def safe(self) -> bool:
        """Whether no damage was detected."""
        return not (self.lost or self.halves or self.unreadable or self.writers_lost)


def write(name: str, place: str, size: int, first: int, batches: int, reports: Connection) -> None:
    """Add ten rows per transaction to a store, and send the index of each transaction after it is committed."""
    keeper = KEEPERS[name](place, size)
    for batch in range(batches):
        keeper.add(first + batch * _BATCH, np.ones((_BATCH, size), np.float32))
        reports.send(batch)


def torment(name: str, place: str, size: int, kills: int, writers: int, seed: int) -> Safety:
    """Test a store: kill writing processes at random moments from `seed`, then run several writers at the same time.

    `place` is an empty folder, or the address of an empty database.
    """
    rng = np.random.default_rng(seed)
    lost = halves = unreadable = kept = 0
    for turn in range(kills):
        done = _child(name, place, size, turn, float(rng.uniform(0, 0.05)))
        try:
            count = KEEPERS[name](place, size).count()
        except Exception:  # any exception from the store's library means that the store is unreadable
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
    """Kill a writing process `seconds` after its third transaction; return the indices of all transactions that it reported."""
    child, reports = _start(name, place, size, turn * _APART, _APART // _BATCH)
    done: list[int] = []
    with contextlib.suppress(EOFError):  # a process that can't write reports fewer transactions
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
    """Receive the remaining reports of a process until it ends."""
    found = []
    with contextlib.suppress(EOFError, OSError):  # the last report may be incomplete
        while True:
            found.append(reports.recv())
    return found
