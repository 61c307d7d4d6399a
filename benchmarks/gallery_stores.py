"""Candidate stores for a face gallery with a common interface, and the check that they survive `kill -9` and concurrent writers."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_BLOCK, _MORE = 32, 40  # number of probes per block, and of additional candidates whose distances are computed exactly
_BATCH = 10  # rows per transaction of a process that is killed or writes at the same time as others
_FIRST = 3  # minimum number of transactions that a process reports before it is killed
_APART = 1_000_000  # difference between the first row numbers of two writing processes


class Keeper(Protocol):
    """Store of embeddings in a folder or a database, with search by Euclidean distance."""

    def add(self, first: int, rows: Vectors) -> None:
        """Add rows [N, D] with consecutive indices starting at `first`, in one transaction."""

    def nearest(self, query: Vectors, top: int) -> list[int]:
        """Return the indices of the `top` nearest rows, nearest first."""

    def count(self) -> int:
        """Return the number of rows."""


class _Zoo:
    """`zoo.Gallery` in a SQLite file, or in PostgreSQL with pgvector if `place` is a database address."""

    def __init__(self, place: str, size: int) -> None:
        from zoo.tasks.face.gallery import Embedder, Gallery

        self._gallery = Gallery(place if "://" in place else f"{place}/faces.gallery", Embedder("0" * 16, "random", "euclidean", None))

    def add(self, first: int, rows: Vectors) -> None:
        self._gallery.enroll_all({str(first + number): row for number, row in enumerate(rows)})

    def nearest(self, query: Vectors, top: int) -> list[int]:
        return [int(match.name) for match in self._gallery.identify(query, top=top)[0].matches]

    def count(self) -> int:
        return len(self._gallery)


class _SqliteVec:
    """sqlite-vec table, accessed through apsw because the sqlite3 of many Python builds (pyenv, macOS) can't load extensions."""

    def __init__(self, place: str, size: int) -> None:
        import apsw
        import sqlite_vec

        self._connection = apsw.Connection(f"{place}/vectors.db")
        self._connection.set_busy_timeout(30_000)
        self._connection.enable_load_extension(True)
        self._connection.load_extension(sqlite_vec.loadable_path())
        self._connection.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS faces USING vec0(embedding float[{size}] distance_metric=L2)")

    def add(self, first: int, rows: Vectors) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        values = ((first + number, row.tobytes()) for number, row in enumerate(rows))
        self._connection.executemany("INSERT INTO faces (rowid, embedding) VALUES (?, ?)", values)
        self._connection.execute("COMMIT")

    def nearest(self, query: Vectors, top: int) -> list[int]:
        found = self._connection.execute("SELECT rowid FROM faces WHERE embedding MATCH ? AND k = ?", (query.tobytes(), top))
        return [int(row[0]) for row in found]

    def count(self) -> int:
        return int(next(self._connection.execute("SELECT count(*) FROM faces"))[0])


class _Lance:
    """LanceDB table without an index, so that searches are exact."""

    def __init__(self, place: str, size: int) -> None:
        import lancedb
        import pyarrow as pa

        kind = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), size))])
        self._table = lancedb.connect(place).create_table("faces", schema=kind, exist_ok=True)
        self._size = size

    def add(self, first: int, rows: Vectors) -> None:
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), self._size)
        self._table.add(pa.table({"id": np.arange(first, first + len(rows)), "vector": vectors}))

    def nearest(self, query: Vectors, top: int) -> list[int]:
        return list(self._table.search(query).distance_type("l2").limit(top).to_arrow()["id"].to_pylist())

    def count(self) -> int:
        self._table.checkout_latest()
        return int(self._table.count_rows())


KEEPERS: dict[str, Callable[[str, int], Keeper]] = {"zoo": _Zoo, "sqlite-vec": _SqliteVec, "lancedb": _Lance, "postgres": _Zoo}
# modules imported before timing starts; stores whose modules aren't installed are skipped
NEEDS = {
    "zoo": ("zoo.tasks.face.gallery",),
    "sqlite-vec": ("apsw", "sqlite_vec"),
    "lancedb": ("lancedb", "pyarrow"),
    "postgres": ("zoo.tasks.face.gallery", "psycopg", "pgvector.psycopg"),
}


def installed(name: str) -> bool:
    """Return whether the modules that a store needs are installed."""
    return all(importlib.util.find_spec(module.split(".")[0]) is not None for module in NEEDS[name])


def load(name: str) -> Callable[[str, int], Keeper]:
    """Import the modules that a store needs, and return the store's class."""
    for module in NEEDS[name]:
        importlib.import_module(module)
    return KEEPERS[name]


def bytes_in(folder: Path) -> int:
    """Return the total size of the files in a folder in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def exact(probes: Vectors, rows: Vectors, top: int) -> list[list[int]]:
    """Return the `top` nearest rows of each probe [P, D], nearest first.

    Distances are computed in float64. A matrix product selects a few dozen candidates, which are then ranked by exact differences.
    """
    many, found = rows.astype(np.float64), []
    squares = (many**2).sum(1)
    for start in range(0, len(probes), _BLOCK):
        part = probes[start : start + _BLOCK].astype(np.float64)
        rough = squares - 2 * (part @ many.T)
        nearest = np.sort(np.argpartition(rough, min(top + _MORE, len(rows)) - 1, axis=1)[:, : top + _MORE], axis=1)
        for probe, places in zip(part, nearest, strict=True):
            far = np.linalg.norm(many[places] - probe, axis=1)
            found.append([int(place) for place in places[np.argsort(far, kind="stable")[:top]]])
    return found


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
    """Test a store in an empty folder or database: kill writing processes at random moments, then run several writers at once."""
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
    missing = kept + writers * _BATCH * _BATCH - KEEPERS[name](place, size).count()
    return Safety(name, lost, halves, unreadable, missing)


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
    for process, reports in [_start(name, place, size, (1000 + number) * _APART, _BATCH) for number in range(writers)]:
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
