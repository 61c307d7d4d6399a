"""Compare stores for a face gallery by speed, size, exactness and safety after `kill -9`: `python -m zoo.benchmarks.gallery`.

The stores are `zoo.Gallery` in a file, sqlite-vec and LanceDB (skipped if not installed) and, with `--postgres`, `zoo.Gallery` in an empty
database with pgvector. Each is measured in a new process. A probe is exact if its five nearest neighbours equal those of an exhaustive
comparison in float64. To test `kill -9`, a process that adds ten rows per transaction is killed at a random moment. All transactions that
it reported as committed must then be present, and no transaction may be incomplete. To test concurrency, several processes add rows at the
same time.

docs/benchmarks.md lists the measured figures and the reasons for the default store.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from zoo.benchmarks.gallery_stores import KEEPERS, Safety, Vectors, bytes_in, exact, installed, load, torment
from zoo.benchmarks.harness.command import Flags, benchmark, flag, in_new_process, make_table, report, timed
from zoo.errors import InputError, check_positive

PROMISED_MS = 20.0  # target: maximum time of a search among 100,000 128-dimensional vectors in milliseconds
PROMISED_ROWS, PROMISED_SIZE = 100_000, 128
_TOP, _TIMED, _SINGLE = 5, 30, 10
_CHUNK = 100_000  # rows per transaction


@dataclass(frozen=True)
class Setting:
    """Settings of the benchmark: amounts of data and numbers of repetitions."""

    rows: int  # number of stored vectors
    size: int  # dimensions of the vectors
    probes: int  # number of searches, each compared with an exhaustive search in float64
    kills: int  # number of processes that are killed while writing
    writers: int  # number of concurrent writers
    seed: int = 0  # seed of the vectors

    def __post_init__(self) -> None:
        check_positive("gallery", rows=self.rows, size=self.size, probes=self.probes)
        if self.kills < 0 or self.writers < 0:
            raise InputError(f"gallery: kills is {self.kills} and writers is {self.writers}; expected 0 or more")


@dataclass(frozen=True)
class Cost:
    """Cost of storing vectors in one store and of searching them."""

    name: str  # name of the store
    size: int  # dimensions of the vectors
    add_rate: float  # rows added per second, in transactions of 100,000 rows
    single_rate: float  # rows added per second, in transactions of one row
    megabytes: float | None  # size on disk in MB, vectors and row indices; None for a database server
    first_ms: float  # milliseconds for opening the store and the first search, in a new process
    warm_ms: float  # median milliseconds of the searches after the first
    exact: int  # number of probes whose neighbours equal those of an exhaustive search in float64


def vectors(setting: Setting) -> tuple[Vectors, Vectors]:
    """Generate rows and probes of approximately unit length. Half of the probes are near a row."""
    rng = np.random.default_rng(setting.seed)
    rows = rng.standard_normal((setting.rows, setting.size), np.float32) / np.float32(setting.size**0.5)
    probes = rng.standard_normal((setting.probes, setting.size), np.float32) / np.float32(setting.size**0.5)
    near = rng.integers(setting.rows, size=setting.probes // 2)
    probes[: len(near)] = rows[near] + probes[: len(near)] * np.float32(0.3)
    return rows, probes


def fill(name: str, place: str, setting: Setting) -> tuple[float, float]:
    """Store the vectors; return the rows added per second, in large transactions and in transactions of one row."""
    rows, _ = vectors(setting)
    keeper = load(name)(place, setting.size)
    last = min(_SINGLE, setting.rows - 1)
    start = time.perf_counter()
    for first in range(0, setting.rows - last, _CHUNK):
        keeper.add(first, rows[first : min(first + _CHUNK, setting.rows - last)])
    middle = time.perf_counter()
    for number in range(setting.rows - last, setting.rows):
        keeper.add(number, rows[number : number + 1])
    return (setting.rows - last) / (middle - start), last / (time.perf_counter() - middle)


def search(name: str, place: str, setting: Setting) -> tuple[float, float, int]:
    """Return the time of the first search in a filled store and the median of later ones (both in ms), and the number of exact results."""
    rows, probes = vectors(setting)
    keeper, opening = timed(load(name), place, setting.size)
    found = [timed(keeper.nearest, probe, _TOP) for probe in probes]
    times = [opening + found[0][1], *(seconds for _, seconds in found[1:])]
    right = sum(answer == expected for (answer, _), expected in zip(found, exact(probes, rows, _TOP), strict=True))
    return times[0] * 1000, statistics.median(times[1 : _TIMED + 1] or times) * 1000, right


def measure(name: str, place: str, setting: Setting) -> Cost:
    """Measure the cost of one store. Filling and searching each run in a new process."""
    add_rate, single_rate = in_new_process(fill, name, place, setting)
    megabytes = None if "://" in place else bytes_in(Path(place)) / 1e6
    return Cost(name, setting.size, add_rate, single_rate, megabytes, *in_new_process(search, name, place, setting))


def met(costs: Sequence[Cost], safeties: Sequence[Safety], setting: Setting) -> bool:
    """Return whether the zoo's gallery is exact, loses no data and meets the target time, which applies to 100,000 vectors of size 128."""
    own = [cost for cost in costs if cost.name == "zoo"]
    fast = all(cost.warm_ms <= PROMISED_MS for cost in own if cost.size <= PROMISED_SIZE and setting.rows <= PROMISED_ROWS)
    return fast and all(cost.exact == setting.probes for cost in own) and all(one.safe for one in safeties if one.name == "zoo")


_STORES = [name for name in KEEPERS if name != "postgres"]


@benchmark(
    flag("--rows", type=int, default=PROMISED_ROWS, help="number of stored vectors"),
    flag("--sizes", type=int, nargs="+", default=[128, 512], help="dimensions of the vectors"),
    flag("--probes", type=int, default=1000, help="number of searches, each compared with an exhaustive search in float64"),
    flag("--kills", type=int, default=5, help="number of times a writing process is killed"),
    flag("--writers", type=int, default=4, help="number of concurrent writers"),
    flag("--keepers", nargs="+", choices=_STORES, help="stores to measure; all that are installed by default"),
    flag(
        "--postgres", metavar="ADDRESS", nargs="+", default=[], help="addresses of empty PostgreSQL databases with pgvector, one per size"
    ),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if the zoo's gallery meets all targets, 1 if not, 2 if a flag is invalid."""
    settings = [Setting(flags.rows, size, flags.probes, flags.kills, flags.writers) for size in flags.sizes]
    if flags.postgres and len(flags.postgres) != len(settings):
        raise InputError(f"gallery: {len(flags.postgres)} databases for {len(settings)} sizes; expected one database for each size")
    names = flags.keepers or [name for name in _STORES if installed(name)]
    costs, safeties = [], []
    for number, setting in enumerate(settings):
        for name in names:
            with tempfile.TemporaryDirectory() as place:
                costs.append(measure(name, place, setting))
        if flags.postgres:
            costs.append(measure("postgres", flags.postgres[number], setting))
    for name in names if flags.kills or flags.writers else ():
        with tempfile.TemporaryDirectory() as place:
            safeties.append(torment(name, place, settings[0].size, flags.kills, flags.writers, settings[0].seed))
    good = met(costs, safeties, settings[0])
    safety, about = [{**asdict(one), "safe": one.safe} for one in safeties], {**asdict(settings[0]), "size": flags.sizes}
    content = {"costs": [asdict(cost) for cost in costs], "safety": safety, "met": good, "setting": about}
    return report(flags.json, content, *_shown(costs, safeties, settings[0], good), met=good, width=120)


def _shown(costs: Sequence[Cost], safeties: Sequence[Safety], setting: Setting, good: bool) -> Iterator[Table | str]:
    title = f"{setting.rows} vectors, {_TOP} nearest by Euclidean distance; warm: median of {_TIMED}"
    heads = ("store", "dimensions", "rows/s", "single/s", "on disk", "first search", "warm search", f"exact of {setting.probes}")
    yield make_table(title, heads, map(_row, costs))
    for one in safeties:
        yield (
            f"{one.name}: {setting.kills} kills -9: {one.lost} transactions lost, {one.halves} partial, {one.unreadable} unreadable; "
            f"{setting.writers} concurrent writers: {one.writers_lost} rows missing"
        )
    size, verdict = f"{PROMISED_ROWS} {PROMISED_SIZE}-dimensional vectors", "met" if good else "not met"
    yield f"target for zoo: exact results, no data lost, {PROMISED_MS:g} ms with {size}: {verdict}"


def _row(cost: Cost) -> tuple[str, ...]:
    disk = "–" if cost.megabytes is None else f"{cost.megabytes:.0f} MB"
    times = f"{cost.first_ms:.0f} ms", f"{cost.warm_ms:.1f} ms"
    return cost.name, str(cost.size), f"{cost.add_rate:.0f}", f"{cost.single_rate:.0f}", disk, *times, str(cost.exact)


if __name__ == "__main__":
    raise SystemExit(main())
