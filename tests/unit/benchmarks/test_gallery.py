"""The comparison of gallery stores: what it measures, its output and its errors."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.postgres import Server
from zoo.benchmarks import gallery, gallery_stores
from zoo.benchmarks.gallery import Cost, Setting, fill, main, met, search, vectors
from zoo.benchmarks.gallery_stores import KEEPERS, NEEDS, Safety, bytes_in, drain, exact, installed, load, torment, write

SETTING = Setting(rows=200, size=16, probes=20, kills=0, writers=0)
COST = Cost("zoo", 128, 1e4, 50.0, 60.0, 300.0, 8.0, 20)
SAFE = Safety("zoo", 0, 0, 0, 0)


def test_what_is_kept_is_found_exactly(tmp_path: Path) -> None:
    add_rate, single_rate = fill("zoo", str(tmp_path), SETTING)
    assert add_rate > 0
    assert single_rate > 0
    assert KEEPERS["zoo"](str(tmp_path), 16).count() == 200
    first, warm, right = search("zoo", str(tmp_path), SETTING)
    assert first > 0
    assert warm > 0
    assert right == 20
    assert bytes_in(tmp_path) > 200 * 16 * 4


def test_a_search_that_is_wrong_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill("zoo", str(tmp_path), SETTING)
    monkeypatch.setattr(gallery_stores._Zoo, "nearest", lambda self, query, top: list(range(top)))
    assert search("zoo", str(tmp_path), SETTING)[2] < 20


def test_the_database_is_measured_in_the_same_way(postgres: Server) -> None:
    place = postgres.make("benchmark")
    fill("postgres", place, SETTING)
    assert search("postgres", place, SETTING)[2] == 20
    assert gallery.measure("postgres", postgres.make("benchmark2"), SETTING).megabytes is None


def test_half_of_the_probes_are_near_a_row() -> None:
    rows, probes = vectors(replace(SETTING, size=64))
    nearest = np.array([np.linalg.norm(rows - probe, axis=1).min() for probe in probes])
    assert nearest[:10].max() < 0.6 < nearest[10:].min()
    far = np.linalg.norm(rows[None].astype(np.float64) - probes[:, None], axis=2)
    assert exact(probes, rows, 7) == np.argsort(far, axis=1)[:, :7].tolist()


def test_a_child_that_can_not_add_is_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert torment("zoo", str(tmp_path / "file"), 16, kills=1, writers=0, seed=0) == Safety("zoo", 0, 0, 1, 0)
    assert "GalleryError" in capfd.readouterr().err  # of the child process


@pytest.mark.slow
def test_what_processes_leave_that_are_killed_or_write_at_once(tmp_path: Path) -> None:
    assert torment("zoo", str(tmp_path), 16, kills=2, writers=2, seed=0) == SAFE


def test_losses_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky:
        """A store that reports fixed numbers of rows and fails once."""

        counts: Iterator[int] = iter([5, 12, -1, 12 + 150])

        def __init__(self, place: str, size: int) -> None:
            pass

        def count(self) -> int:
            count = next(self.counts)
            if count < 0:
                raise OSError("damaged")
            return count

    monkeypatch.setitem(KEEPERS, "zoo", Leaky)
    monkeypatch.setattr(gallery_stores, "_child", lambda *_: [0, 1, 2])
    monkeypatch.setattr(gallery_stores, "_write_all", lambda *_: None)
    found = torment("zoo", str(tmp_path), 16, kills=3, writers=2, seed=0)
    assert found == Safety("zoo", lost=3 + 3, halves=2, unreadable=1, writers_lost=50)
    assert not found.safe


def test_a_writer_says_each_transaction(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe(duplex=False)
    write("zoo", str(tmp_path), 16, 5, 3, there)
    there.close()
    assert drain(here) == [0, 1, 2]
    assert KEEPERS["zoo"](str(tmp_path), 16).count() == 30


@pytest.mark.parametrize(
    ("costs", "safeties", "expected"),
    [
        ([COST], [SAFE], True),
        ([replace(COST, warm_ms=21.0)], [SAFE], False),
        ([replace(COST, warm_ms=21.0, size=512)], [SAFE], True),  # the target applies to 128 dimensions
        ([replace(COST, exact=19)], [SAFE], False),
        ([COST], [replace(SAFE, halves=1)], False),
        ([COST, replace(COST, name="lancedb", warm_ms=90.0, exact=0)], [SAFE, replace(SAFE, name="lancedb", lost=1)], True),
    ],
)
def test_what_is_promised_is_of_the_zoos_own(costs: list[Cost], safeties: list[Safety], expected: bool) -> None:
    assert met(costs, safeties, replace(SETTING, rows=100_000)) is expected
    assert met([replace(COST, warm_ms=90.0)], [], replace(SETTING, rows=1_000_000))


def test_the_result_decides_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    measured: list[tuple[str, int]] = []

    def measure(name: str, place: str, setting: Setting) -> Cost:
        measured.append((name, setting.size))
        return replace(COST, name=name, size=setting.size, megabytes=None if "://" in place else 60.0)

    monkeypatch.setattr(gallery, "measure", measure)
    monkeypatch.setattr(gallery, "torment", lambda name, *_: replace(SAFE, name=name))
    words = ["--rows", "100000", "--probes", "20", "--keepers", "zoo", "sqlite-vec"]
    assert main([*words, "--json", "--postgres", "postgresql://a", "postgresql://b"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert measured == [("zoo", 128), ("sqlite-vec", 128), ("postgres", 128), ("zoo", 512), ("sqlite-vec", 512), ("postgres", 512)]
    assert content["met"]
    assert content["setting"]["size"] == [128, 512]
    assert [one["safe"] for one in content["safety"]] == [True, True]
    monkeypatch.setattr(gallery, "torment", lambda name, *_: replace(SAFE, name=name, lost=2))
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "zoo: 5 kills -9: 2 transactions lost" in printed
    assert "not met" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows", "0"], "gallery: rows is 0; expected a number above 0"),
        (["--kills", "-1"], "gallery: kills is -1 and writers is 4; expected 0 or more"),
        (["--postgres", "postgresql://a"], "gallery: 1 databases for 2 sizes; expected one database for each size"),
    ],
)
def test_what_can_not_be_measured(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["zoo", "sqlite-vec", "lancedb"])
def test_every_keeper_keeps_and_finds(name: str, tmp_path: Path) -> None:
    if not installed(name):
        pytest.skip(f"needs {' and '.join(NEEDS[name])}, which are not installed")
    keeper = load(name)(str(tmp_path), 16)
    rows, probes = vectors(SETTING)
    keeper.add(0, rows[:150])
    keeper.add(150, rows[150:])
    assert keeper.count() == 200
    assert [keeper.nearest(probe, 5) for probe in probes] == exact(probes, rows, 5)
